"""Whose a dead letter is: as its message says, whatever else is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from schemas.events.dead_letters import DeadLetterReason
from stream.worker.decode.records import Record, decode, unprocessable_letter

_AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
_FIX = {"vehicle_id": "a/1", "recorded_at": "2026-03-01T08:00:00Z", "lat": 56.3, "lon": 10.4}
_BATCH = {"municipality_id": "a", "vendor": "trackit", "received_at": "2026-03-01T08:00:00Z"}


def _record(document: object) -> Record:
    return Record("f", 0, 7, b"key", orjson.dumps(document), _AT)


@pytest.mark.parametrize(
    ("document", "reason", "vendor", "municipality_id"),
    [
        ({**_BATCH, "fixes": [{**_FIX, "lat": 91}]}, "bad-fix", "trackit", "a"),
        (
            {**_BATCH, "fixes": [{**_FIX, "vehicle_id": "b/1"}]},
            "foreign-vehicle",
            "trackit",
            "a",
        ),
        ({**_BATCH, "received_at": "never", "fixes": [_FIX]}, "bad-envelope", "trackit", "a"),
        ({**_BATCH, "vendor": "v" * 61, "fixes": [_FIX]}, "bad-envelope", None, "a"),
        ({**_BATCH, "vendor": 7, "fixes": [_FIX]}, "bad-envelope", None, "a"),
        (
            {**_BATCH, "received_at": 0, "municipality_id": "A b", "fixes": [_FIX]},
            "bad-envelope",
            "trackit",
            None,
        ),
        ({**_FIX, "lat": 91}, "no-envelope", None, None),
        ([_FIX], "not-a-fix", None, None),
    ],
)
def test_vendor_and_municipality_are_those_of_the_message(
    document: object, reason: str, vendor: str | None, municipality_id: str | None
) -> None:
    (letter,) = decode([_record(document)]).letters
    event = letter.event
    assert (event.reason, event.vendor) == (reason, vendor)
    assert event.municipality_id == municipality_id


def test_a_name_that_could_steer_a_terminal_or_break_a_row_is_none() -> None:
    for name in ("a\0b", "a\x1b[2J", "", "\x9b"):
        letter = unprocessable_letter(_record({**_BATCH, "vendor": name}), ValueError("no"))
        assert letter.event.vendor is None
        assert letter.event.municipality_id == "a"
        assert letter.event.reason is DeadLetterReason.UNPROCESSABLE


def test_what_is_no_batch_is_kept_byte_for_byte() -> None:
    value = b'{"vehicle_id": "a/1",  "lat": 91.0 }'
    (letter,) = decode([Record("f", 0, 7, None, value, _AT)]).letters
    assert letter.value == value
