"""Events are the same for msgspec, which the gateway takes them with, and for pydantic.

Events are made of JSON fragments, usual ones and odd ones: numbers and instants in every way of
writing, text for numbers, truth in every way of saying it, ids with all that ids may not have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any

import msgspec
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.events.fix import FIX_FIELDS, FixBatch, NativeFix
from stream.ingest.http.event_codec import Message, PushedFix, decode_event, encode
from stream.ingest.http.requests import parse, parse_good
from tests.property.examples import examples
from tests.property.test_columnar_decoder import INSTANTS

_NUMBERS = (
    "0", "-0", "-0.0", "1", "0.5", "1e0", "90", "-90", "90.00000000000001", "180", "-180.5", "360",
    "150", "150.1", "1e308", "1e400", "-1e400", "1e-400", "123456789012345678901234567890", "01",
    "1.", ".5", "+1", "NaN", "Infinity", "-Infinity", '"1"', '"1.5"', "true", "false", "null", "[]",
    "{}", '""',
)  # fmt: skip
_TRUTHS = ("true", "false", "null", "0", "1", "1.0", '"true"', '"yes"', '"on"', '"1"', "[]", "True")
_IDS = (
    '"car-1"', '"A.b_c:d-9"', '""', '"a b"', '"a\\n"', '"a\\u0000"', '"\\u0061"', '"æ"', '"٣"',
    '"syddjurs/car-1"', "1", "null", "true", '["car-1"]', f'"{"v" * 80}"', f'"{"v" * 81}"',
    '"\\ud800"',
)  # fmt: skip
_TYPES = ('"fix"', '"FIX"', '"door"', "null", "1", "[]")
_FRAGMENTS: Mapping[str, tuple[str, ...]] = {
    "vehicle_id": _IDS,
    "recorded_at": INSTANTS,
    "type": _TYPES,
    "private_mode": _TRUTHS,
    **{field.name: _TRUTHS if field.kind is bool else _NUMBERS for field in FIX_FIELDS},
}
_GOOD = {
    "vehicle_id": '"car-1"',
    "recorded_at": '"2026-02-02T06:00:00Z"',
    "lat": "56.3226",
    "lon": "10.4461",
}
_NAMES = (*_FRAGMENTS, "LAT", "sped_mps", "", "vehicle_id ")


@st.composite
def _events(draw: st.DrawFn) -> bytes:
    """Return an event: a good one, with up to three fields of any kind, some left out."""
    fields = dict(_GOOD)
    for name in draw(st.lists(st.sampled_from(_NAMES), max_size=3, unique=True)):
        choices = st.sampled_from(_FRAGMENTS.get(name, _NUMBERS))
        if _FRAGMENTS.get(name) is _NUMBERS:
            choices |= st.floats(allow_nan=False, allow_infinity=False).map(repr)
            choices |= st.integers(-(10**20), 10**20).map(str)
        fields[name] = draw(choices)
    for name in draw(st.lists(st.sampled_from(sorted(_GOOD)), max_size=1)):
        del fields[name]
    return _json(fields)


def _json(fields: Mapping[str, str]) -> bytes:
    return (
        "{" + ", ".join(f"{json.dumps(name)}: {fields[name]}" for name in fields) + "}"
    ).encode()


def _by_pydantic(text: bytes) -> dict[str, Any] | None:
    """Return the event as it may be kept, None for one that is not good."""
    try:
        return vars(NativeFix.model_validate_json(text).discreet())
    except ValidationError:
        return None


@settings(max_examples=examples(2_000), deadline=None, database=None)
@given(_events())
@example(_json(_GOOD))
@example(_json({**_GOOD, "lat": "true"}))
@example(_json({**_GOOD, "ignition": '"yes"'}))
@example(_json({**_GOOD, "recorded_at": '"2026-02-02T06:00:00.1234567Z"'}))
@example(_json({**_GOOD, "recorded_at": '"0001-01-01T00:00:00+14:00"'}))
@example(_json({**_GOOD, "recorded_at": "1770012000.5"}))
@example(_json({**_GOOD, "recorded_at": '"1770012000000"'}))
def test_msgspec_takes_what_pydantic_takes_with_the_same_values_and_nothing_else(
    text: bytes,
) -> None:
    expected = _by_pydantic(text)
    event("refused" if expected is None else "taken")
    _assert_alike(text, expected)


def _assert_alike(text: bytes, expected: Mapping[str, Any] | None) -> None:
    """Check that msgspec judges alike, and where pydantic alone reads an instant, the gateway."""
    decoded = decode_event(text)
    if expected is not None and _since_1970(text):
        assert decoded is None, text
        (decoded,) = parse(text).good
    assert (decoded is None) == (expected is None), text
    if decoded is not None and expected is not None:
        assert msgspec.structs.asdict(decoded) == expected, text
        assert decoded.recorded_at.tzinfo is UTC


def _since_1970(text: bytes) -> bool:
    """Return whether an instant is written as a number, or as one in text."""
    written = json.loads(text).get("recorded_at")
    return isinstance(written, int | float) or (isinstance(written, str) and written.isdigit())


def test_every_fragment_in_every_field_is_judged_alike() -> None:
    taken = 0
    for name, fragments in _FRAGMENTS.items():
        for fragment in fragments:
            text = _json({**_GOOD, name: fragment})
            expected = _by_pydantic(text)
            _assert_alike(text, expected)
            taken += expected is not None
    assert taken > 60


def test_both_have_the_same_fields() -> None:
    assert set(PushedFix.__struct_fields__) == set(NativeFix.model_fields)


@settings(max_examples=examples(200), deadline=None, database=None)
@given(st.lists(_events(), min_size=1, max_size=6))
def test_a_body_is_judged_as_a_whole_as_each_of_its_events_is(texts: list[bytes]) -> None:
    texts = [text for text in texts if _is_json(text)] or [_json(_GOOD)]
    body = b"[" + b",".join(texts) + b"]"
    parsed = parse(body)
    good = [index for index, text in enumerate(texts) if _by_pydantic(text) is not None]
    assert list(parsed.places) == good
    assert {rejected.index for rejected in parsed.rejected} == set(range(len(texts))) - set(good)
    # Of instants since 1970, pydantic alone reads what msgspec leaves to it.
    left = len(good) < len(texts) or any(map(_since_1970, texts))
    assert (parse_good(body) is None) == left


def _is_json(text: bytes) -> bool:
    """Return whether a body with this text is JSON at all: what Python says of NaN it is not."""
    try:
        json.loads(text, parse_constant=lambda _: json.loads("!"))
        return "\\ud800" not in text.decode() and b"1e400" not in text
    except ValueError:
        return False


@settings(max_examples=examples(200), deadline=None, database=None)
@given(_events())
def test_what_is_written_to_kafka_is_a_batch_as_the_worker_reads_it(text: bytes) -> None:
    decoded = decode_event(text)
    if decoded is None:
        return
    expected = msgspec.structs.asdict(decoded)
    decoded.vehicle_id = f"syddjurs/{decoded.vehicle_id}"
    message = Message(
        municipality_id="syddjurs",
        vendor="tracker-co",
        received_at=decoded.recorded_at,
        fixes=[decoded],
    )
    (fix,) = FixBatch.model_validate_json(encode(message)).fixes
    del expected["type"]
    assert vars(fix) == {**expected, "vehicle_id": decoded.vehicle_id}
