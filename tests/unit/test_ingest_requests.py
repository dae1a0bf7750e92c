"""What a vendor may make the gateway do with one request is bounded, whatever it sends."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from stream.ingest.http.requests import (
    MAX_BAD_EVENT_BYTES,
    MAX_EVENT_FAULTS,
    MAX_EVENTS,
    MAX_REQUEST_FAULTS,
    TooManyError,
    UnreadableError,
    parse,
)

GOOD: dict[str, Any] = {
    "vehicle_id": "car-1",
    "recorded_at": "2026-02-02T06:00:00Z",
    "lat": 56.3,
    "lon": 10.4,
}


def body(*events: object) -> bytes:
    return json.dumps(events).encode()


def test_ten_faults_of_an_event_are_told_and_how_many_more_there_are() -> None:
    parsed = parse(body(GOOD, {**GOOD, **{f"f{number}": 0 for number in range(25)}}))
    assert len(parsed.good) == 1
    assert [rejected.index for rejected in parsed.rejected] == [1] * MAX_EVENT_FAULTS
    assert {rejected.reason for rejected in parsed.rejected} == {
        "is not a field of this event; see /docs for those that are"
    }
    assert parsed.untold == 25 - MAX_EVENT_FAULTS


def test_a_hundred_faults_of_a_request_are_told_and_how_many_more_there_are() -> None:
    accident = [{**GOOD, **{f"f{number}": 0 for number in range(100)}} for _ in range(MAX_EVENTS)]
    accident[17] = GOOD
    parsed = parse(body(*accident))
    assert list(parsed.places) == [17]
    assert len(parsed.rejected) == MAX_REQUEST_FAULTS
    assert parsed.untold == (MAX_EVENTS - 1) * 100 - MAX_REQUEST_FAULTS


def test_an_event_that_is_long_and_not_good_is_not_looked_into() -> None:
    long = {**GOOD, **{f"f{number}": 0 for number in range(600_000)}}
    for sent in (json.dumps(long).encode(), body(long)):
        (rejected,) = parse(sent).rejected
        assert (rejected.index, rejected.field) == (0, "")
        assert "bytes long, limit 4,096" in rejected.reason
    at_limit = {**GOOD, "x": ""}
    at_limit["x"] = "y" * (MAX_BAD_EVENT_BYTES - len(json.dumps(at_limit)))
    assert [rejected.field for rejected in parse(body(at_limit)).rejected] == ["x"]
    assert [rejected.field for rejected in parse(body({**at_limit, "z": 0})).rejected] == [""]


def test_little_is_repeated_of_what_was_sent() -> None:
    (rejected,) = parse(body({**GOOD, "n" * 2_000: 0})).rejected
    assert rejected.field == "n" * 100
    (rejected,) = parse(body({**GOOD, "lat": "x" * 2_000})).rejected
    assert len(rejected.reason) < 250


def test_a_good_event_is_good_however_much_space_is_in_it() -> None:
    spacious = json.dumps([GOOD]).encode().replace(b",", b"," + b" " * 5_000)
    assert len(parse(spacious).good) == 1
    assert len(parse(spacious[1:-1]).good) == 1
    assert len(parse(b"[{}," + spacious[1:]).good) == 1


def test_a_field_that_stands_twice_counts_as_it_stands_last() -> None:
    twice = json.dumps(GOOD).replace('"lat": 56.3', '"lat": true, "lat": 57').encode()
    (event,) = parse(twice).good
    assert event.lat == 57.0


@pytest.mark.parametrize(
    "hostile",
    [
        b"[" + b"0," * 3_000_000 + b"0]",
        b"[" + b"[]," * 2_000_000 + b"[]]",
        b"[" + b'{"a":1},' * 800_000 + b"0]",
        b"[" + b'{"a":1},' * MAX_EVENTS + b"0]",
    ],
)
def test_more_than_a_request_may_hold_is_refused(hostile: bytes) -> None:
    with pytest.raises(TooManyError, match="limit"):
        parse(hostile)


@pytest.mark.parametrize("hostile", [b"[" * 8_000_000, b'{"a":' * 1_000_000, b'"', b"", b"[1 2]"])
def test_what_is_not_json_is_refused(hostile: bytes) -> None:
    with pytest.raises(UnreadableError, match="not JSON"):
        parse(hostile)


@pytest.mark.parametrize(
    "written",
    [
        '"2026-06-02T08:07:00Z"',
        '"2026-06-02T10:07:00.0000000+02:00"',
        '"2026-06-02 08:07:00z"',
        '"2026-06-02T08:07:00+0000"',
        "1780387620",
        "1780387620.0",
        "1780387620000",
        '"1780387620"',
        '"1780387620000"',
    ],
)
def test_an_instant_is_taken_however_a_vendor_writes_it(written: str) -> None:
    """Ways of the reports at OS2fleetoptimiser 182e33f; one slow event leaves the others as is."""
    body = b"[" + _event(written) + b"," + _event('"2026-06-02T08:00:00Z"') + b"]"
    parsed = parse(body)
    assert parsed.rejected == []
    assert parsed.good[0].recorded_at == datetime(2026, 6, 2, 8, 7, tzinfo=UTC)
    assert len(parsed.good) == 2


@pytest.mark.parametrize(
    "written",
    [
        "true",
        "-1",
        "1e300",
        "NaN",
        '"1e9"',
        '"-5"',
        '"+5"',
        '" 5"',
        '"253402300800000"',
        '""',
        "[]",
    ],
)
def test_what_is_no_instant_is_refused_with_the_remedy(written: str) -> None:
    if written == "NaN":
        with pytest.raises(UnreadableError):
            parse(_event(written))
        return
    (rejected,) = parse(_event(written)).rejected
    assert rejected.field == "recorded_at"


def _event(written: str) -> bytes:
    return (
        b'{"vehicle_id": "car-1", "lat": 56.3, "lon": 10.4, "recorded_at": %b}' % written.encode()
    )
