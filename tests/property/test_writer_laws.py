"""Laws 1 to 3 on the database: any order, any duplication, any batches, any crash: the same rows.

Every run is compared with the plainest one, all fixes in order, once, in one batch, and its
segments, trips, round trips and hours with the slow references of `tests/scenario`, which share no
code with the fold.
`make laws` tries 50,000 examples.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import zip_longest
from operator import add
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from infra.database.connection.pool import Pool
from processors.timeline.validation import Arrival, precedence, resolve
from schemas.events.fix import FIX_FIELDS, Fix
from stream.worker.refold.recompute import recompute
from stream.worker.write.writer import Writer
from tests.property.accounts import accounted_for
from tests.property.examples import examples
from tests.property.outages import outages
from tests.scenario.batch_reference import compute
from tests.scenario.round_trip_reference import ReferenceDepot, hours, round_trips
from tests.stream_harness import (
    RECEIVED_AT,
    TOPICS,
    Log,
    derived,
    empty,
    enter_municipality,
    fetch,
    message,
    open_pool,
)

_START = datetime(2026, 2, 2, 6, 0, tzinfo=UTC)
_STEP_DEG = 0.0005  # some 50 m: a few steps leave a standstill
_VEHICLES = ("syddjurs/a", "syddjurs/b")
_HOMES = {"syddjurs/a": "syddjurs/depot"}
_YARD = ReferenceDepot(
    "syddjurs/yard",
    56.308,
    10.4,
    polygon=((56.3073, 10.398), (56.3073, 10.402), (56.3091, 10.402), (56.3091, 10.398)),
)
_DEPOTS = (ReferenceDepot("syddjurs/depot", 56.3, 10.4), _YARD)

_MESSAGES = "SELECT message_id FROM outbox ORDER BY 1"
_CHECKPOINTS = "SELECT * FROM vehicle_checkpoint ORDER BY 1, 2"


@st.composite
def journeys(draw: st.DrawFn) -> list[Fix]:
    """Return fixes of two vehicles, in order: drives, stands, gaps, jumps and ignition noise."""
    fixes = []
    for vehicle_id in _VEHICLES:
        at, lat, odometer_m = _START, 56.3, 1000.0
        for _ in range(draw(st.integers(1, 14))):
            at += timedelta(seconds=draw(st.sampled_from((5, 20, 60, 120, 300, 4000, 25_000))))
            steps = draw(st.sampled_from((0, 0, 1, 8, -8, 40, 4000)))
            lat += _STEP_DEG * steps
            odometer_m += 60 * abs(steps) if draw(st.booleans()) else 0
            private = draw(st.sampled_from((False,) * 9 + (True,)))
            fixes.append(
                Fix(
                    vehicle_id=vehicle_id,
                    recorded_at=at,
                    lat=None if private else lat if lat < 80 else 56.3,
                    lon=None if private else 10.4,
                    private_mode=private,
                    odometer_m=draw(st.sampled_from((None, odometer_m, odometer_m))),
                    speed_mps=draw(st.sampled_from((None, 0.0, 9.5))),
                    ignition=draw(st.sampled_from((None, True, False))),
                )
            )
    return fixes


@dataclass
class Delivery:
    """How the fixes reach us."""

    fixes: list[Fix]
    log: Log


@st.composite
def _contradictions(draw: st.DrawFn, fix: Fix) -> dict[str, Any]:
    """Return what another fix of the same instant says: another place, or any one other value."""
    step_deg = draw(st.sampled_from((-_STEP_DEG, _STEP_DEG)))
    elsewhere = {"lat": (fix.lat or 56.3) + step_deg, "lon": 10.4, "private_mode": False}
    field = draw(st.sampled_from(FIX_FIELDS))
    if field.name in elsewhere or draw(st.booleans()):
        return elsewhere
    value = draw(st.booleans()) if field.kind is bool else draw(st.sampled_from((0.0, 1.0)))
    return {**elsewhere, "lat": fix.lat or 56.3, field.name: value}


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Return journeys, shuffled, with duplicates and contradictions, cut into messages."""
    fixes = draw(journeys() | st.builds(add, *(outages(name, private=True) for name in _VEHICLES)))
    twice = draw(st.lists(st.sampled_from(fixes), max_size=4))
    contradicting = [
        fix.model_copy(update=draw(_contradictions(fix)))
        for fix in draw(st.lists(st.sampled_from(fixes), max_size=2))
    ]
    everything = fixes + contradicting
    # Most trackers send in order, and what comes in order takes another way through the worker.
    arriving = sorted(everything + twice, key=lambda fix: fix.recorded_at)
    if draw(st.booleans()):
        arriving = draw(st.permutations(arriving))
    log = Log()
    while arriving:
        size = draw(st.integers(1, 8))
        portion, arriving = arriving[:size], arriving[size:]
        log.append(message(portion), partition=draw(st.integers(0, 1)))
    return Delivery(everything, log)


def plain_log(fixes: list[Fix]) -> Log:
    """Return the same fixes in order, once each, in one message."""
    winners: dict[tuple[str, datetime], Fix] = {}
    for fix in fixes:
        place = (fix.vehicle_id, fix.recorded_at)
        if place not in winners or precedence(fix) < precedence(winners[place]):
            winners[place] = fix
    log = Log()
    log.append(message([winners[place] for place in sorted(winners)]))
    return log


async def equals_reference(pool: Pool, fixes: list[Fix]) -> None:
    """Compare the tables with the slow references, vehicle by vehicle."""
    for vehicle_id in _VEHICLES:
        counting, _ = resolve(
            Arrival(fix, RECEIVED_AT) for fix in fixes if fix.vehicle_id == vehicle_id
        )
        expected = compute(arrival.fix for arrival in counting.values())
        segments = await fetch(
            pool,
            "SELECT state, started_at, ended_at, moved, private FROM segment "
            f"WHERE vehicle_id = '{vehicle_id}' ORDER BY started_at",
        )
        assert segments == [
            (segment.state, segment.started_at, segment.ended_at, segment.moved, segment.private)
            for segment in expected.segments
        ]
        trips = await fetch(
            pool,
            "SELECT started_at, ended_at, is_open, driving_s, idling_s, motion_only, "
            "round(distance_m), round(gps_m), odometer_m, distance_source FROM trip "
            f"WHERE vehicle_id = '{vehicle_id}' ORDER BY started_at",
        )
        assert trips == [
            (
                trip.started_at,
                trip.ended_at,
                trip.is_open,
                Decimal(str(trip.driving.total_seconds())),
                Decimal(str(trip.idling.total_seconds())),
                trip.motion_only,
                pytest.approx(trip.distance_m, abs=1),
                pytest.approx(trip.gps_m, abs=1),
                trip.odometer_m,
                trip.source,
            )
            for trip in expected.trips
        ]
        counted = [arrival.fix for arrival in counting.values()]
        strung = await fetch(
            pool,
            "SELECT started_at, ended_at, kind, start_depot_id, end_depot_id, trip_count, is_open, "
            "part, home_depot_id FROM round_trip "
            f"WHERE vehicle_id = '{vehicle_id}' ORDER BY started_at",
        )
        assert strung == [
            (
                round_trip.started_at,
                round_trip.ended_at,
                round_trip.kind,
                round_trip.start_depot_id,
                round_trip.end_depot_id,
                round_trip.trip_count,
                round_trip.is_open,
                round_trip.part,
                _HOMES.get(vehicle_id),
            )
            for round_trip in round_trips(expected, counted, _DEPOTS)
        ]
        used = await fetch(
            pool,
            "SELECT hour, driving_s, idling_s, parked_s, offline_s, away_s, trip_count "
            f"FROM usage_hour WHERE vehicle_id = '{vehicle_id}' ORDER BY hour",
        )
        none = timedelta()
        assert used == [
            (
                hour,
                *(
                    Decimal(str(reference_hour.lengths.get(state, none).total_seconds()))
                    for state in ("driving", "idling", "parked", "offline")
                ),
                Decimal(str(reference_hour.away.total_seconds())),
                reference_hour.trip_count,
            )
            for hour, reference_hour in sorted(hours(expected, counted, _DEPOTS).items())
        ]


async def consume(pool: Pool, log: Log, batch: int) -> None:
    """Have one worker take a whole log, so many records at a time."""
    writer = Writer(pool, TOPICS)
    records = log.since(await log.assign(writer))
    portions = [records[start : start + batch] for start in range(0, len(records), batch)]
    for portion, following in zip_longest(portions, portions[1:], fillvalue=()):
        await writer.write(portion, following)


class _CrashError(psycopg.OperationalError):
    """The server is gone in the middle of a transaction."""


class CrashingConnection(AsyncConnection[TupleRow]):
    """A connection that breaks at its n-th statement from now."""

    statements_left: int | None = None

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Execute, or break."""
        cls = type(self)
        if cls.statements_left is not None:
            if cls.statements_left == 0:
                cls.statements_left = None
                await self.close()
                raise _CrashError("connection lost")
            cls.statements_left -= 1
        return await super().execute(*args, **kwargs)


def prepared(url: str) -> None:
    """Enter who there is."""

    async def main() -> None:
        async with open_pool(url) as pool:
            await enter_municipality(pool)
            async with pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, polygon, "
                    "capacity) VALUES (%s, 'syddjurs', 'Yard', %s, %s, %s, 10)",
                    [_YARD.depot_id, _YARD.lat, _YARD.lon, Jsonb(_YARD.polygon)],
                )

    asyncio.run(main())


def test_rows_depend_on_the_set_of_fixes_only(database_url: str) -> None:
    prepared(database_url)

    @settings(max_examples=examples(90), deadline=None, suppress_health_check=list(HealthCheck))
    @given(delivery=deliveries(), batch=st.integers(1, 5))
    def law(delivery: Delivery, batch: int) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                await consume(pool, plain_log(delivery.fixes), batch=1)
                expected = await derived(pool)
                await empty(pool)
                await consume(pool, delivery.log, batch)
                assert await derived(pool) == expected
                await equals_reference(pool, delivery.fixes)
                await accounted_for(pool)

        asyncio.run(main())

    law()


def test_folding_stored_fixes_again_changes_nothing(database_url: str) -> None:
    """With the same rules and depots, whatever is folded again, from wherever, in any portions."""
    prepared(database_url)

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        delivery=deliveries(),
        at_once=st.integers(1, 6),
        since=st.none() | st.integers(0, 60).map(lambda hours: _START + timedelta(hours=hours)),
    )
    def law(delivery: Delivery, at_once: int, since: datetime | None) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                await consume(pool, delivery.log, batch=3)
                expected = await derived(pool)
                messages = await fetch(pool, _MESSAGES)
                checkpoints = await fetch(pool, _CHECKPOINTS)
                async for _ in recompute(pool, TOPICS, "syddjurs", since=since, at_once=at_once):
                    pass
                assert await derived(pool) == expected
                assert await fetch(pool, _MESSAGES) == messages
                assert await fetch(pool, _CHECKPOINTS) == checkpoints

        asyncio.run(main())

    law()


def test_rules_depots_and_homes_of_today_hold_for_the_past_once_it_is_folded_again(
    database_url: str,
) -> None:
    """What was folded without depots, under other rules, becomes what it would have been."""
    prepared(database_url)
    depot = "UPDATE depot SET lat = %s, polygon = %s WHERE depot_id = %s"
    rules = "UPDATE municipality SET rules = %s"
    home = "UPDATE vehicle_home SET during = %s"

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(delivery=deliveries(), at_once=st.integers(1, 6))
    def law(delivery: Delivery, at_once: int) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                await consume(pool, plain_log(delivery.fixes), batch=1)
                expected = await derived(pool)
                await empty(pool)
                async with pool.connection() as connection:
                    for reference_depot in _DEPOTS:
                        await connection.execute(
                            depot, [reference_depot.lat + 9, None, reference_depot.depot_id]
                        )
                    await connection.execute(rules, [Jsonb({"max_speed_mps": 900.0})])
                    await connection.execute(home, [f"[{_START + timedelta(days=9)},)"])
                # Batches for a worker that holds everything in its cache, and goes on after it.
                writer = Writer(pool, TOPICS)
                records = delivery.log.since(await delivery.log.assign(writer))
                for record in records[:-1]:
                    await writer.write([record])
                async with pool.connection() as connection:
                    for reference_depot in _DEPOTS:
                        polygon = (
                            None
                            if reference_depot.polygon is None
                            else Jsonb(reference_depot.polygon)
                        )
                        await connection.execute(
                            depot, [reference_depot.lat, polygon, reference_depot.depot_id]
                        )
                    await connection.execute(rules, [Jsonb({})])
                    await connection.execute(home, ["(,)"])
                async for _ in recompute(pool, TOPICS, "syddjurs", at_once=at_once):
                    pass
                writer.invalidate()  # as after half a minute: the last may be of a vehicle unmet
                await writer.write(records[-1:])
                assert await derived(pool) == expected

        asyncio.run(main())

    law()


def test_a_crash_between_any_two_statements_changes_nothing(database_url: str) -> None:
    prepared(database_url)

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(delivery=deliveries(), crashes=st.lists(st.integers(0, 25), min_size=1, max_size=4))
    def law(delivery: Delivery, crashes: list[int]) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                await consume(pool, delivery.log, batch=2)
                expected = await derived(pool)
                await empty(pool)
            async with open_pool(database_url, CrashingConnection) as pool:
                for statement in crashes:
                    CrashingConnection.statements_left = statement
                    try:
                        await consume(pool, delivery.log, batch=2)
                    except _CrashError:
                        continue
                CrashingConnection.statements_left = None
                await consume(pool, delivery.log, batch=2)
                assert await derived(pool) == expected
                await accounted_for(pool)

        asyncio.run(main())

    law()


def test_two_workers_on_one_partition_write_each_record_once(database_url: str) -> None:
    prepared(database_url)

    @settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))
    @given(delivery=deliveries(), turns=st.lists(st.booleans(), min_size=4, max_size=30))
    def law(delivery: Delivery, turns: list[bool]) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                await consume(pool, delivery.log, batch=3)
                expected = await derived(pool)
                await empty(pool)
                # A zombie and its successor both believe that they own everything.
                writers = (Writer(pool, TOPICS), Writer(pool, TOPICS))
                queues = [
                    delivery.log.since(await delivery.log.assign(writer)) for writer in writers
                ]
                # What each of them folds ahead, the other one may overtake.
                nexts = [queue[:2] for queue in queues]
                for turn in [*turns, *[False, True] * 60]:
                    portion, queues[turn] = nexts[turn], queues[turn][2:]
                    nexts[turn] = queues[turn][:2]
                    if portion:
                        await writers[turn].write(portion, nexts[turn])
                assert not any(queues)
                assert await derived(pool) == expected
                await accounted_for(pool)

        asyncio.run(main())

    law()


def test_every_second_is_accounted_for_once(database_url: str) -> None:
    """Law 1, in the tables, after each batch; the other laws check it where they end."""
    prepared(database_url)

    @settings(max_examples=examples(30), deadline=None, suppress_health_check=list(HealthCheck))
    @given(delivery=deliveries())
    def law(delivery: Delivery) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                writer = Writer(pool, TOPICS)
                for record in delivery.log.since(await delivery.log.assign(writer)):
                    await writer.write([record])
                    await accounted_for(pool)

        asyncio.run(main())

    law()
