"""Every field of a fix is taken by the fast path, stored, read again, ordered and compared.

The fields are those of `schemas.events.fix`, so that a new one is tried as well: a fix with it and
one without travel the whole way, from a vendor's JSON to a row and back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from pydantic import ValidationError

from infra.database.connection.pool import Pool
from infra.database.timeline.fixes import read_fixes
from infra.database.timeline.tables import FIX
from processors.timeline.validation import Arrival, precedence, resolve
from schemas.events.fix import FIX_FIELDS, PLACE_FIELDS, Fix, FixField, NativeFix
from stream.ingest.http.event_codec import Message, decode_event, encode
from stream.ingest.http.openapi import openapi
from stream.replay.mapping import FIELDS
from stream.worker.decode import columnar, records
from stream.worker.decode.records import Record
from stream.worker.fold.rows import stored_arrival
from stream.worker.write.writer import Writer
from tests.database_contents import CLOCKS, contents
from tests.stream_harness import (
    RECEIVED_AT,
    TOPICS,
    Log,
    derived,
    empty,
    enter_municipality,
    open_pool,
)

AT = RECEIVED_AT - timedelta(hours=3)
CAR = "syddjurs/a"
REQUIRED = {"lat", "lon"}
"""Outside of private mode."""

each_field = pytest.mark.parametrize("field", FIX_FIELDS, ids=lambda field: field.name)


def values(field: FixField) -> tuple[Any, Any]:
    """Return two values that a field may have; no fix of these tests has them otherwise."""
    if field.kind is bool:
        return False, True
    least = 1000.0 if field.least is None else field.least
    most = least + 3000.0 if field.most is None else field.most
    return least + 0.3 * (most - least), least + 0.7 * (most - least)


def pushed(number: int, **given: Any) -> dict[str, Any]:
    """Return an event of a car, `number` minutes after the first one."""
    at = (AT + timedelta(minutes=number)).isoformat()
    return {"vehicle_id": "a", "recorded_at": at, "lat": 56.3, "lon": 10.4, **given}


def as_sent(event: dict[str, Any]) -> Fix:
    """Return what pydantic makes of an event; it is the authority."""
    native = NativeFix.model_validate_json(orjson.dumps(event))
    return Fix(**{**native.model_dump(exclude={"type"}), "vehicle_id": CAR})


def through_the_gateway(events: Sequence[dict[str, Any]]) -> bytes:
    """Return the message that the gateway makes of events."""
    fixes = []
    for event in events:
        decoded = decode_event(orjson.dumps(event))
        assert decoded is not None, event
        decoded.vehicle_id = CAR
        fixes.append(decoded)
    return encode(Message("syddjurs", "test", RECEIVED_AT, fixes))


async def written(pool: Pool, *messages: bytes) -> None:
    """Have a worker take messages, each in a batch of its own."""
    log = Log()
    for value in messages:
        log.append(value)
    writer = Writer(pool, TOPICS)
    for record in log.since(await log.assign(writer)):
        await writer.write([record])


def record_of(value: bytes) -> Record:
    return Record(TOPICS.fixes, 0, 0, None, value, RECEIVED_AT)


@each_field
def test_the_fast_path_takes_it_as_pydantic_does(field: FixField) -> None:
    events = [pushed(0), *(pushed(1, **{field.name: value}) for value in values(field))]
    record = record_of(through_the_gateway(events))
    columns, others = columnar.decode([record])
    assert columns is not None
    assert others == []
    fast = [columns.item(index) for index in range(len(columns))]
    assert fast == records.decode([record]).items
    assert [item.arrival.fix for item in fast] == [as_sent(event) for event in events]


@each_field
def test_it_is_stored_and_read_as_it_was_sent(
    database_url: str, field: FixField, monkeypatch: pytest.MonkeyPatch
) -> None:
    low, high = values(field)
    events = [pushed(0), pushed(1, **{field.name: low}), pushed(2, **{field.name: high})]
    sent = [as_sent(event) for event in events]

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await written(pool, through_the_gateway(events))
            async with pool.connection() as connection:
                query = f"SELECT {field.name} FROM fix ORDER BY recorded_at"
                stored = await (await connection.execute(query.encode())).fetchall()
                rows = await read_fixes(connection, CAR)
            assert [row[0] for row in stored] == [getattr(fix, field.name) for fix in sent]
            assert [stored_arrival(row)[0].fix for row in rows] == sent
            fast = await contents(pool, CLOCKS)
            await empty(pool)
            monkeypatch.setattr(columnar, "decode", lambda records: (None, list(records)))
            await written(pool, through_the_gateway(events))
            assert await contents(pool, CLOCKS) == fast

    asyncio.run(main())


@each_field
def test_of_two_fixes_that_differ_only_in_it_the_same_counts(field: FixField) -> None:
    entry, other = (as_sent(pushed(0, **{field.name: value})) for value in values(field))
    fixes = [entry, other] if field.name in REQUIRED else [entry, other, as_sent(pushed(0))]
    assert len({precedence(fix) for fix in fixes}) == len(fixes)
    arrivals = [Arrival(fix, RECEIVED_AT) for fix in fixes]
    counting, lost = resolve(arrivals)
    assert len(lost) == len(arrivals) - 1
    assert resolve(reversed(arrivals))[0] == counting


@each_field
def test_the_rows_do_not_tell_which_of_two_such_fixes_came_first(
    database_url: str, field: FixField
) -> None:
    first, second = (
        through_the_gateway([pushed(0), pushed(1, **{field.name: value}), pushed(2)])
        for value in values(field)
    )

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await written(pool, first, second)
            expected = await derived(pool)
            await empty(pool)
            await written(pool, second, first)
            assert await derived(pool) == expected

    asyncio.run(main())


@each_field
def test_it_is_taken_at_its_bounds_and_not_beyond(field: FixField) -> None:
    for bound, step in ((field.least, -1e-6), (field.most, 1e-6)):
        if bound is None:
            continue
        assert decode_event(orjson.dumps(pushed(0, **{field.name: bound}))) is not None
        beyond = pushed(0, **{field.name: bound + step})
        assert decode_event(orjson.dumps(beyond)) is None
        with pytest.raises(ValidationError, match=field.name):
            NativeFix.model_validate_json(orjson.dumps(beyond))
        fix = as_sent(pushed(0)).model_copy(update={field.name: bound + step})
        value = orjson.dumps(
            {
                "municipality_id": "syddjurs",
                "vendor": "test",
                "received_at": RECEIVED_AT,
                "fixes": [fix.model_dump(exclude_none=True, exclude={"private_mode"})],
            }
        )
        record = record_of(value)
        assert columnar.decode([record]) == (None, [record])
        assert records.decode([record]).items == []


@each_field
def test_it_is_dropped_in_private_mode_if_it_tells_the_place(field: FixField) -> None:
    event = pushed(0, private_mode=True, **{field.name: values(field)[0]})
    decoded = decode_event(orjson.dumps(event))
    assert decoded is not None
    kept = None if field.tells_place else values(field)[0]
    assert getattr(decoded, field.name) == kept
    assert getattr(as_sent(event).discreet(), field.name) == kept


@each_field
def test_vendors_and_replays_are_told_of_it(field: FixField) -> None:
    schema = openapi(1)["components"]["schemas"]["NativeFix"]["properties"][field.name]
    assert schema["description"] == field.description
    written = next(kind for kind in schema["anyOf"] if kind["type"] != "null")
    assert written["type"] == {float: "number", bool: "boolean"}[field.kind]
    assert (written.get("minimum"), written.get("maximum")) == (field.least, field.most)
    assert field.name in FIELDS


def test_the_table_has_these_columns(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        columns = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = 'fix'::regclass AND attnum > 0 AND NOT attisdropped"
        ).fetchall()
    written = {"float8": "double precision", "bool": "boolean", "text": "text"}
    written["timestamptz"] = "timestamp with time zone"
    assert dict(columns) == {name: written[kind] for name, kind in FIX.columns.items()}


def test_what_tells_the_place_is_told_apart() -> None:
    """By hand: a field that is wrongly kept in private mode is a breach of privacy."""
    assert PLACE_FIELDS == ("lat", "lon", "speed_mps", "heading_deg", "accuracy_m")


def test_a_comparison_that_leaves_out_what_is_not_there_is_refused(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            with pytest.raises(LookupError, match=r"fix\.colour"):
                await contents(pool, {"fix.colour": "no such column"})

    asyncio.run(main())
