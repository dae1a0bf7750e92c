"""The simulated fleet: the same for the same seed, plausible, and what the fold finds in it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest
from pydantic import SecretStr, TypeAdapter

from infra.database.connection.pool import make_pool
from infra.database.fleet.master_data import load_fleet
from infra.database.fleet.master_data_import import import_master_data
from infra.settings import Settings
from processors.timeline.segments import Segment, SegmentState
from processors.timeline.vehicle_fold import Changes, advance
from schemas.events.fix import Fix, NativeFix
from schemas.fleet.master_data import VehicleType
from schemas.fleet.rules import Rules
from schemas.ids import scoped
from stream.simulator.config import SimulationConfig
from stream.simulator.simulation import SimulatedDay, SimulatedFleet, simulate
from tests.scenario.truth_score import Score, score_idling, score_trips

_MONDAY = date(2026, 3, 2)
_CYCLES = {VehicleType.BIKE, VehicleType.E_BIKE, VehicleType.CARGO_BIKE}
_FIXES = TypeAdapter(list[Fix])
_RULES = Rules()


@dataclass(frozen=True)
class _Lived:
    fleet: SimulatedFleet
    days: list[SimulatedDay]

    def fixes(self) -> dict[str, list[Fix]]:
        """Return each vehicle's fixes in order of device time."""
        events: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
        for day in self.days:
            for owner, event in day.fixes:
                vehicle_id = scoped(owner, event["vehicle_id"])
                events[vehicle_id].append({**event, "vehicle_id": vehicle_id})
        return {
            name: sorted(_FIXES.validate_python(reports), key=lambda fix: fix.recorded_at)
            for name, reports in events.items()
        }


def _lived(**changes: object) -> _Lived:
    config = SimulationConfig(
        **{  # type: ignore[arg-type]
            "start": _MONDAY,
            "days": 5,
            "seed": 7,
            "municipalities": ("syddjurs", "favrskov"),
            "vehicles_per_municipality": 15,
            **changes,
        }
    )
    fleet = simulate(config)
    return _Lived(fleet, list(fleet.days()))


@pytest.fixture(scope="module")
def lived() -> _Lived:
    """Return five days of a fleet without gaps, where every car reports its ignition."""
    return _lived()


def test_the_same_seed_gives_the_same_days_and_another_one_others() -> None:
    entry, same = _lived(days=2, gap_share=0.2), _lived(days=2, gap_share=0.2)
    other = _lived(days=2, gap_share=0.2, seed=8)
    assert entry.fleet.vehicles == same.fleet.vehicles
    assert [day.fixes for day in entry.days] == [day.fixes for day in same.days]
    assert [day.truth for day in entry.days] == [day.truth for day in same.days]
    assert entry.days[0].fixes != other.days[0].fixes


def test_days_can_be_had_again(lived: _Lived) -> None:
    assert next(lived.fleet.days()).fixes == lived.days[0].fixes


def test_every_fix_is_a_valid_native_event_in_order_of_device_time(lived: _Lived) -> None:
    for day in lived.days:
        native = TypeAdapter(list[NativeFix]).validate_python([event for _, event in day.fixes])
        instants = [fix.recorded_at for fix in native]
        assert instants == sorted(instants)


def test_no_vehicle_is_faster_than_it_can_be(lived: _Lived) -> None:
    kinds = {vehicle.vehicle_id: vehicle.vehicle_type for vehicle in lived.fleet.vehicles}
    for vehicle_id, fixes in lived.fixes().items():
        fastest = max(fix.speed_mps or 0.0 for fix in fixes)
        assert fastest < (9.0 if kinds[vehicle_id] in _CYCLES else 30.0)


def test_the_fleet_is_what_a_municipality_has(lived: _Lived) -> None:
    for municipality in lived.fleet.municipalities:
        mine = [
            vehicle
            for vehicle in lived.fleet.vehicles
            if vehicle.municipality_id == municipality.municipality_id
        ]
        assert len(mine) == 15
        assert {VehicleType.CAR, VehicleType.VAN} < {vehicle.vehicle_type for vehicle in mine}
        assert {vehicle.home_depot_id for vehicle in mine} <= {
            depot.depot_id for depot in lived.fleet.depots
        }
        assert all(vehicle.yearly_cost_dkk > 0 for vehicle in mine)


def test_devices_without_an_ignition_wire_never_report_it() -> None:
    lived = _lived(days=1, no_ignition_share=1.0)
    assert all(event.get("ignition") is None for _, event in lived.days[0].fixes)


def test_coverage_gaps_leave_holes() -> None:
    whole, holed = _lived(days=2), _lived(days=2, gap_share=1.0)
    assert sum(len(day.fixes) for day in holed.days) < sum(len(day.fixes) for day in whole.days)


def test_some_vehicles_hardly_drive_and_parked_engines_run(lived: _Lived) -> None:
    driven: defaultdict[str, float] = defaultdict(float)
    for day in lived.days:
        for trip in day.truth.trips:
            driven[trip.vehicle_id] += trip.distance_m
    cars = [
        vehicle.vehicle_id
        for vehicle in lived.fleet.vehicles
        if vehicle.vehicle_type is VehicleType.CAR
    ]
    distances = sorted(driven[car] for car in cars)
    assert distances[0] < 0.25 * sum(distances) / len(distances)
    assert any(idle.duration_s > 200 for day in lived.days for idle in day.truth.idles)


def test_holidays_are_as_quiet_as_weekends() -> None:
    lived = _lived(start=date(2026, 4, 1), days=4)
    out = [len({trip.vehicle_id for trip in day.truth.trips}) for day in lived.days]
    # A Wednesday, skærtorsdag, langfredag and a Saturday.
    assert out[0] > 3 * max(out[1:])


def test_demand_moves_between_depots_on_the_day_it_should() -> None:
    moved, steady = _lived(days=4, demand_shift_day=2), _lived(days=4)
    assert [day.fixes for day in moved.days[:2]] == [day.fixes for day in steady.days[:2]]
    assert moved.days[2].fixes != steady.days[2].fixes


def test_true_trips_of_a_vehicle_are_apart_by_a_real_stop(lived: _Lived) -> None:
    for day in lived.days:
        by_vehicle = defaultdict(list)
        for trip in day.truth.trips:
            by_vehicle[trip.vehicle_id].append(trip)
        for trips in by_vehicle.values():
            for true_trip, following in pairwise(trips):
                assert (following.started_at - true_trip.ended_at).total_seconds() >= 180


def test_sixty_vehicles_and_five_days_take_seconds() -> None:
    began = time.monotonic()
    lived = _lived(vehicles_per_municipality=30)
    assert time.monotonic() - began < 20
    assert sum(len(day.fixes) for day in lived.days) > 50_000


def test_the_fold_finds_what_truly_happened(lived: _Lived) -> None:
    """Every car reports its ignition and nothing is lost: no trip is missing and none made up.

    A red light within 200 m of a trip's end is where the rules put that end, so that some twentieth
    of the trips is stamped a light's minute off.
    """
    close, idling = _scores(lived, tolerance_s=30)
    assert close.detected == close.true
    assert close.recall > 0.93
    assert abs(close.error) < 0.02
    within_a_light, _ = _scores(lived, tolerance_s=120)
    assert within_a_light.precision > 0.99
    assert within_a_light.recall > 0.99
    assert idling.recall > 0.9
    assert idling.precision > 0.9
    assert abs(idling.error) < 0.1


def test_the_fold_bears_gaps_and_missing_ignition() -> None:
    trips, _ = _scores(_lived(gap_share=0.2, no_ignition_share=0.3), tolerance_s=120)
    assert trips.recall > 0.9
    # What is driven without coverage is not claimed: a fifth of the days lacks up to 150 minutes.
    assert -0.07 < trips.error < 0


def _scores(lived: _Lived, *, tolerance_s: float) -> tuple[Score, Score]:
    """Return how the fold does on trips, and on the idling of vehicles that report ignition."""
    on_trips, on_idling = Score(), Score()
    true_trips, true_idles = defaultdict(list), defaultdict(list)
    for day in lived.days:
        for trip in day.truth.trips:
            true_trips[trip.vehicle_id].append(trip)
        for idle in day.truth.idles:
            true_idles[idle.vehicle_id].append(idle)
    for vehicle_id, fixes in lived.fixes().items():
        changes = _folded(fixes)
        on_trips += score_trips(changes.trips.rows, true_trips[vehicle_id], tolerance_s=tolerance_s)
        if any(fix.ignition is not None for fix in fixes):
            on_idling += score_idling(
                _idling(changes.segments.rows),
                true_idles[vehicle_id],
                tolerance_s=tolerance_s,
                longer_than_s=_RULES.idle_reported_after_s,
            )
    return on_trips, on_idling


def _folded(fixes: Sequence[Fix]) -> Changes:
    _, changes = advance(None, fixes, (), _RULES)
    return changes


def _idling(segments: Sequence[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment.state is SegmentState.IDLING]


def test_the_fleet_can_be_entered_and_entered_again(database_url: str) -> None:
    fleet = simulate(SimulationConfig(start=_MONDAY, days=1, vehicles_per_municipality=12))
    settings = Settings(database_url=SecretStr(database_url))

    async def enter_twice() -> None:
        async with make_pool(settings, max_size=1) as pool, pool.connection() as connection:
            await import_master_data(connection, fleet.master_data)
            await import_master_data(connection, fleet.master_data)
            entered = await load_fleet(connection)
        assert set(entered.vehicles.values()) == set(fleet.vehicles)
        assert {depot for depots in entered.depots.values() for depot in depots} == set(
            fleet.depots
        )

    asyncio.run(enter_twice())
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM vehicle WHERE registered").fetchone()
    assert row == (12,)


def test_scores_count_each_trip_once() -> None:
    begin = datetime(2026, 3, 2, 8, tzinfo=UTC)

    def trip(start_s: float, end_s: float) -> Segment:
        at = (begin + timedelta(seconds=start_s), begin + timedelta(seconds=end_s))
        return Segment(SegmentState.DRIVING, *at, (0, 0), (0, 0), 1000.0)  # type: ignore[arg-type]

    score = score_trips(
        [trip(0, 600), trip(5, 605), trip(2000, 2500)],
        [trip(2, 601), trip(2000, 2600)],
        tolerance_s=30,
    )
    assert (score.matched, score.detected, score.true) == (1, 3, 2)
    assert score.precision == pytest.approx(1 / 3)
    assert score.recall == 0.5
    assert score.error == 0.5
