"""The fast path takes no message that pydantic would not take, and makes nothing else of it.

Messages are made of JSON fragments, usual ones and odd ones: numbers and instants in every way of
writing, strings for numbers, unknown and repeated fields, vehicles of others, broken envelopes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from bench import traffic
from infra.database.connection.pool import Pool
from schemas.events.fix import FIX_FIELDS, FixField
from stream.worker.decode import columnar
from stream.worker.decode.records import DecodedFix, Record, decode
from stream.worker.write.writer import Writer
from tests.database_contents import CLOCKS, contents
from tests.property.examples import examples
from tests.stream_harness import RECEIVED_AT, TOPICS, Log, enter_municipality, open_pool

_USUAL_INSTANT = '"2026-02-02T06:00:00Z"'
INSTANTS = (
    '"2026-02-02T06:00:00+00:00"',
    '"2026-02-02T06:00:00.5Z"',
    '"2026-02-02T06:00:00.123456+00:00"',
    '"2026-02-02T06:00:00.1234567Z"',
    '"2026-02-02T06:00:00.9999999Z"',
    '"2026-02-02T06:00:00,5Z"',
    '"2026-02-02T08:00:00+02:00"',
    '"2026-02-02T06:00:00-00:00"',
    '"2026-02-02T06:00:00+0000"',
    '"2026-02-02T06:00:00"',
    '"2026-02-02 06:00:00Z"',
    '"2026-02-02t06:00:00z"',
    '"2026-02-02T06:00Z"',
    '"2026-02-02T24:00:00Z"',
    '"2026-02-02T06:00:60Z"',
    '"2026-02-30T06:00:00Z"',
    '"2024-02-29T06:00:00Z"',
    '"20260202T060000Z"',
    '"2026-W06-1T06:00:00Z"',
    '"0000-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00+01:00"',
    '"1969-12-31T23:59:59.000001Z"',
    '"9999-12-31T23:59:59.999999Z"',
    '"9999-12-31T23:59:59-01:00"',
    '"10000-01-01T00:00:00Z"',
    '"+2026-02-02T06:00:00Z"',
    '"2026-02-02T06:00:00Z\\n2026-02-02T06:00:00Z"',
    '"٢٠٢٦-02-02T06:00:00Z"',
    '"2026-02-02T06:00:00Z "',
    '"1770012000"',
    "1770012000",
    "1770012000000",
    "1770012000.25",
    '""',
    "null",
    "[]",
)
_NUMBERS = (
    *("0", "-0", "0.0", "-0.0", "1", "1.0", "1e0", "1E+0", "10e-1", "0.1", "55.123456789012345"),
    *("90", "90.0000000000001", "-90", "-90.1", "150", "150.1", "180", "-180.5", "360", "361"),
    *("9007199254740993", "18446744073709551616", "1" + "0" * 30, "9" * 309, "1e308", "1e309"),
    *("5e-324", "1e-400", "2.2250738585072011e-308", "123456789012345678901234567890e-28"),
    *("NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x1", "--1", "1_0"),
    *('"1"', '"1.5"', '" 1"', '"x"', '"NaN"', "true", "false", "null", "[1]", "{}"),
)
_FLAGS = ("true", "false", "null", "0", "1", "2", '"true"', '"off"', '"on"', "1.0", "[]", '"x"')
_VEHICLES = (
    *('"syddjurs/b"', '"favrskov/a"', '"syddjurs/"', '"syddjurs/a/b"', '"Syddjurs/a"', '"a"'),
    *('"syddjurs/a\\n"', '"syddjurs/\\u0061"', '"syddjurs/é"', '"syddjurs/\\ud800"', '""', "1"),
    *('"syddjurs/' + "x" * 80 + '"', '"syddjurs/' + "x" * 81 + '"', '"-a/b"', '"/a"', "null"),
    *('"syddjurs-x/a"', '"syd/a"'),
)
_OPTIONAL = {field.name: field for field in FIX_FIELDS if field.name not in {"lat", "lon"}}
_MUNICIPALITIES = ('"syddjurs\\n"', '"Syddjurs"', '"favrskov"', '""', "null", '"' + "s" * 41 + '"')
_VENDORS = (
    '""',
    '"' + "é" * 60 + '"',
    '"' + "v" * 61 + '"',
    '"a\\u0000b"',
    '"\\ud83d\\ude00"',
    "1",
)


def _mostly(usual: str, odd: Sequence[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 15).flatmap(lambda n: st.sampled_from(odd) if n == 15 else st.just(usual))


def _numbers(least: float, most: float) -> st.SearchStrategy[str]:
    """Return numbers within bounds in their usual form, and now and then anything."""
    within = st.floats(least, most, allow_subnormal=True).map(repr) | st.integers(
        int(least), int(most)
    ).map(str)
    return st.integers(0, 15).flatmap(lambda n: st.sampled_from(_NUMBERS) if n == 15 else within)


def _values_of(field: FixField) -> st.SearchStrategy[str]:
    if field.kind is bool:
        return _mostly("true", _FLAGS)
    return _numbers(field.least or 0, 1e300 if field.most is None else field.most)


def _joined(fields: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields) + "}"


@st.composite
def fixes(draw: st.DrawFn) -> str:
    """Return the JSON of a fix, or of what somebody takes for one."""
    fields = [
        ("vehicle_id", draw(_mostly('"syddjurs/a"', _VEHICLES))),
        ("recorded_at", draw(_mostly(_USUAL_INSTANT, INSTANTS))),
        ("lat", draw(_numbers(-90, 90))),
        ("lon", draw(_numbers(-180, 180))),
    ]
    fields += [
        (name, draw(_values_of(_OPTIONAL[name])))
        for name in draw(st.lists(st.sampled_from(sorted(_OPTIONAL)), unique=True))
    ]
    oddity = draw(st.sampled_from(("none",) * 20 + ("extra", "twice", "missing", "escaped")))
    if oddity == "extra":
        fields.append((draw(st.sampled_from(("x", "", "Lat", "type", "at"))), "1"))
    elif oddity == "twice":
        fields.append(("lat", draw(st.sampled_from(_NUMBERS))))
    elif oddity == "missing":
        fields.pop(draw(st.integers(0, len(fields) - 1)))
    elif oddity == "escaped":
        fields[2] = ("l\\u0061t", fields[2][1])
    return _joined(fields)


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """Return the value of a message."""
    batch = draw(st.lists(fixes(), min_size=0 if draw(st.integers(0, 20)) == 0 else 1, max_size=4))
    fields = [
        ("municipality_id", draw(_mostly('"syddjurs"', _MUNICIPALITIES))),
        ("vendor", draw(_mostly('"test"', _VENDORS))),
        ("received_at", draw(_mostly('"2026-03-01T00:00:00Z"', INSTANTS))),
        ("fixes", "[" + ",".join(batch) + "]"),
    ]
    if draw(st.integers(0, 3)) == 0:
        usual = ("2025-01-01T00:00:00Z", "2026-02-02T06:00:00Z")
        fields += [
            (name, draw(_mostly(f'"{at}"', INSTANTS)))
            for name, at in zip(("history_since", "history_until"), usual, strict=True)
            if draw(st.integers(0, 15))
        ]
    if draw(st.integers(0, 20)) == 0:
        fields.append(draw(st.sampled_from((("x", "1"), ("vendor", '"w"'), ("fixes", "[]")))))
    value = _joined(draw(st.permutations(fields)))
    ways = ("plain",) * 20 + ("cut", "tail", "bom", "space", "bare", "latin")
    match draw(st.sampled_from(ways)):
        case "cut":
            value = value[: draw(st.integers(0, len(value)))]
        case "tail":
            value += draw(st.sampled_from(("x", "{}", ",", "\0", "\f")))
        case "bom":
            value = "\ufeff" + value
        case "space":
            value = "\r\n\t " + value.replace(",", " , ") + "\n"
        case "bare":
            value = draw(fixes())
        case "latin":
            return value.replace("test", "é").encode("latin-1", "replace")
    return value.encode()


def _record(value: bytes | None, offset: int = 0) -> Record:
    return Record(TOPICS.fixes, 0, offset, None, value, RECEIVED_AT)


def _exactly(item: DecodedFix) -> tuple[Any, ...]:
    """Return all that an item says; numbers by their bits, instants with their zone."""
    fix = item.arrival.fix.model_dump()
    return (
        [
            (name, struct.pack(">d", value) if isinstance(value, float) else repr(value))
            for name, value in sorted(fix.items())
        ],
        repr(item.arrival.received_at),
        repr(item.history),
        item.vendor,
        item.record.offset,
        item.number,
    )


@settings(max_examples=examples(700), deadline=None)
@given(value=values())
@example(value=b'{"municipality_id":"a","vendor":"v","received_at":' + b"[" * 100_000)
@example(value=b'{"fixes":[{"recorded_at":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}")
def test_the_lane_takes_only_what_pydantic_takes_and_reads_it_alike(value: bytes) -> None:
    record = _record(value)
    columns, others = columnar.decode([record])
    if columns is None:
        event("left to pydantic")
        assert others == [record]
        return
    event("taken")
    assert others == []
    slowly = decode([record])
    assert slowly.letters == []
    assert [_exactly(columns.item(index)) for index in range(len(columns))] == [
        _exactly(item) for item in slowly.items
    ]
    for index, item in enumerate(slowly.items):
        assert columns.vehicle_ids[columns.vehicle[index]] == item.arrival.fix.vehicle_id
        for name, column in columns.floats.items():
            value_ = getattr(item.arrival.fix, name)
            assert struct.pack(">d", column[index]) == struct.pack(
                ">d", float("nan") if value_ is None else value_
            )
        for name, codes in columns.flags.items():
            assert codes[index] == {None: -1, False: 0, True: 1}[getattr(item.arrival.fix, name)]
        assert columns.recorded_us[index] == _us(item.arrival.fix.recorded_at)
        assert columns.received_us[index] == _us(item.arrival.received_at)


def _us(at: Any) -> int:
    since = at - datetime.fromisoformat("1970-01-01T00:00:00Z")
    return int((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


@settings(max_examples=examples(100), deadline=None)
@given(values=st.lists(values(), max_size=5))
def test_one_message_tells_the_lane_nothing_of_another(values: list[bytes]) -> None:
    records = [_record(value, offset) for offset, value in enumerate(values)]
    columns, others = columnar.decode(records)
    alone = [record for record in records if columnar.decode([record])[0] is None]
    assert sorted(other.offset for other in others) == [record.offset for record in alone]
    taken = [] if columns is None else [columns.item(index) for index in range(len(columns))]
    expected = decode(record for record in records if record not in alone).items
    assert [_exactly(item) for item in taken] == [_exactly(item) for item in expected]


def test_the_lane_takes_what_gateways_send() -> None:
    records = [
        _record(value, offset) for offset, (_, value) in enumerate(traffic.messages(7, 90, 2))
    ]
    columns, others = columnar.decode(records)
    assert others == []
    assert columns is not None
    assert len(columns) == 7 * 90


ODD_INSTANTS = {
    "old": "1980-01-06T00:00:00Z",
    "future": "2026-04-06T00:00:00Z",
    "at the limit": "2025-12-01T00:00:00Z",
    "beyond the limit": "2025-11-30T23:59:59.999999Z",
    "within the range": "2024-06-30T00:00:00Z",
    "beyond the range": "2024-06-30T00:00:01Z",
}
ODDITIES = ("island", "text", *ODD_INSTANTS)


@st.composite
def drives(draw: st.DrawFn) -> list[bytes]:
    """Return messages of two vehicles that mostly drive on, with all that may come between."""
    entries: list[bytes] = []
    at, lat = RECEIVED_AT.timestamp() - 40_000, 56.3
    for _ in range(draw(st.integers(2, 8))):
        batch = []
        for _ in range(draw(st.integers(1, 6))):
            at += draw(st.sampled_from((5, 10, 60, 300, 4000, 0, -30)))
            lat += 0.0005 * draw(st.sampled_from((0, 0, 1, 8, 40, -3, 4000)))
            when = datetime.fromtimestamp(at, RECEIVED_AT.tzinfo).isoformat()
            fields = [
                ("vehicle_id", draw(st.sampled_from(('"syddjurs/a"', '"syddjurs/b"')))),
                ("recorded_at", f'"{when}"'),
                ("lat", str(lat if lat < 80 else 56.3)),
                ("lon", "10.4"),
                ("speed_mps", draw(st.sampled_from(("null", "0", "9.5")))),
                ("ignition", draw(st.sampled_from(("null", "true", "false")))),
            ]
            odd = draw(st.sampled_from(("",) * 12 + ODDITIES))
            if odd == "island":
                fields[2:4] = [("lat", "0"), ("lon", "0.0")]
            elif odd in ODD_INSTANTS:
                fields[1] = ("recorded_at", f'"{ODD_INSTANTS[odd]}"')
            elif odd == "text":
                fields[3] = ("lon", '"10.4"')
            batch.append(_joined(fields))
        envelope = [
            ("municipality_id", draw(_mostly('"syddjurs"', ('"nowhere"',)))),
            ("vendor", '"test"'),
            ("received_at", '"2026-03-01T00:00:00Z"'),
            ("fixes", f"[{','.join(batch)}]"),
        ]
        if draw(st.booleans()):
            envelope += [
                ("history_since", '"2024-01-01T00:00:00Z"'),
                ("history_until", '"2024-06-30T00:00:00Z"'),
            ]
        entries.append(_joined(envelope).replace("syddjurs/", _whose(envelope)).encode())
        if draw(st.integers(0, 5)) == 0:
            entries.append(entries[-1])
        if draw(st.integers(0, 5)) == 0:
            entries.append(draw(values()))
    return entries


def _whose(envelope: list[tuple[str, str]]) -> str:
    return envelope[0][1].strip('"') + "/"


async def _written(pool: Pool, messages: list[bytes], batch: int) -> list[Any]:
    names = (
        "fix, segment, trip, idle_interval, round_trip, usage_hour, vehicle_state, "
        "vehicle_checkpoint, stream_progress, outbox, dead_letter"
    )
    async with pool.connection() as connection:
        await connection.execute(f"TRUNCATE {names}".encode())
    log = Log()
    for message in messages:
        log.append(message)
    writer = Writer(pool, TOPICS)
    records = log.since(await log.assign(writer))
    portions = [records[start : start + batch] for start in range(0, len(records), batch)]
    for portion, following in zip(portions, [*portions[1:], []], strict=True):
        await writer.write(portion, following)
    return await contents(pool, CLOCKS)


def test_the_tables_do_not_tell_which_way_a_message_went(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, dead letters and events are the same with the fast path and without it."""
    in_columns = columnar.decode

    async def main(messages: list[bytes], batch: int) -> None:
        async with open_pool(database_url) as pool:
            monkeypatch.setattr(columnar, "decode", in_columns)
            fast = await _written(pool, messages, batch)
            monkeypatch.setattr(columnar, "decode", lambda records: (None, list(records)))
            assert fast == await _written(pool, messages, batch)

    async def prepare() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)

    async def swap(hours: list[int]) -> None:
        """Let tracker b be in vehicle a for a while, later in no vehicle, and then there again."""
        async with open_pool(database_url) as pool, pool.connection() as connection:
            await connection.execute("DELETE FROM tracker_assignment")
            bounds = [RECEIVED_AT - timedelta(hours=hour) for hour in hours]
            for since, until in zip(bounds[::2], bounds[1::2], strict=True):
                await connection.execute(
                    "INSERT INTO tracker_assignment VALUES (%s, %s, %s, %s)",
                    ["syddjurs/b", "syddjurs/a", since, until],
                )

    asyncio.run(prepare())

    @settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        messages=drives(),
        batch=st.integers(1, 4),
        swapped=st.sampled_from(([], [12, 11], [11, 10, 9, 0], [10, 0])),
    )
    def law(messages: list[bytes], batch: int, swapped: list[int]) -> None:
        asyncio.run(swap(swapped))
        asyncio.run(main(messages, batch))

    law()
