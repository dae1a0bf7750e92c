"""Round trips become trip chains, trip chains become levels of demand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from optimizer.costs import unserved_ore
from optimizer.demand import levels, profile, trip_chains
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, Vehicle, VehicleType
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs

COSTS = Costs()

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def at(hours: float, day: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hours)


def trip(
    vehicle: str, start: datetime, end: datetime, depots: str = "AA", km: float = 20.0
) -> ObservedRoundTrip:
    return ObservedRoundTrip(
        vehicle_id=f"m/{vehicle}",
        started_at=start,
        ended_at=end,
        start_depot_id=f"m/{depots[0]}",
        end_depot_id=f"m/{depots[1]}",
        distance_m=km * 1000,
    )


def inputs(*round_trips: ObservedRoundTrip) -> PlacementInputs:
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=56,
        round_trip_max_s=36_000,
        depots=tuple(
            Depot(
                depot_id=f"m/{name}", municipality_id="m", name=name, lat=56.3, lon=10.5, capacity=9
            )
            for name in "ABC"
        ),
        vehicles=tuple(
            Vehicle(vehicle_id=vehicle_id, municipality_id="m", name=vehicle_id, vehicle_type=kind)
            for vehicle_id, kind in (
                ("m/1", VehicleType.CAR),
                ("m/2", VehicleType.UNKNOWN),
                ("m/3", VehicleType.VAN),
            )
        ),
        round_trips=round_trips,
    )


def test_a_vehicle_of_unknown_type_is_demand_for_a_car_and_a_van_for_a_van() -> None:
    entries = trip_chains(inputs(*(trip(vehicle, at(8), at(9)) for vehicle in ("1", "2", "3"))))
    assert [trip_chain.vehicle_class for trip_chain in entries] == ["car", "car", "van"]


def test_leaving_again_within_a_changeover_needs_no_second_vehicle() -> None:
    entries = trip_chains(inputs(trip("1", at(8), at(9)), trip("1", at(9.05), at(10))))
    assert [
        (trip_chain.started_at, trip_chain.ended_at, trip_chain.round_trips)
        for trip_chain in entries
    ] == [(at(8), at(10), 2)]
    assert len(levels(entries, COPENHAGEN, COSTS)) == 1


def test_leaving_again_after_a_changeover_is_an_outing_of_its_own() -> None:
    entries = trip_chains(inputs(trip("1", at(8), at(9)), trip("1", at(9.1), at(10))))
    assert len(entries) == 2
    assert len(levels(entries, COPENHAGEN, COSTS)) == 1


def test_a_day_at_another_depot_is_one_outing_of_the_first() -> None:
    entries = trip_chains(
        inputs(
            trip("1", at(8), at(8.5), "AB"),
            trip("1", at(11), at(11.5), "BC"),
            trip("1", at(15), at(16), "CA"),
        )
    )
    assert [
        (trip_chain.depot_id, trip_chain.started_at, trip_chain.ended_at) for trip_chain in entries
    ] == [("m/A", at(8), at(16))]
    assert entries[0].distance_m == pytest.approx(60_000)


def test_a_vehicle_that_comes_back_the_next_day_was_left_at_the_other_depot() -> None:
    entries = trip_chains(
        inputs(trip("1", at(8), at(8.5), "AB"), trip("1", at(8, day=1), at(9, day=1), "BA"))
    )
    assert [trip_chain.depot_id for trip_chain in entries] == ["m/A", "m/B"]


def test_a_vehicle_that_was_moved_unseen_is_not_chained() -> None:
    entries = trip_chains(inputs(trip("1", at(8), at(8.5), "AB"), trip("1", at(10), at(11), "CA")))
    assert [trip_chain.depot_id for trip_chain in entries] == ["m/A", "m/C"]


def test_levels_count_what_the_kth_vehicle_is_needed_for() -> None:
    entries = trip_chains(
        inputs(
            trip("1", at(7), at(9), km=10),
            trip("2", at(8), at(10), km=100),
            trip("1", at(12), at(13), km=5),
            trip("1", at(7, day=1), at(9, day=1)),
        )
    )
    first, second = levels(entries, COPENHAGEN, COSTS)
    assert (first.trip_chains, first.before_noon) == (3, 2)
    assert first.days == {date(2026, 3, 2), date(2026, 3, 3)}
    assert (second.trip_chains, second.days) == (1, frozenset({date(2026, 3, 2)}))
    assert second.price_ore == unserved_ore(100_000, COSTS) == 37_000


def test_a_vehicle_back_less_than_a_changeover_ago_cannot_serve_another_driver() -> None:
    soon = trip_chains(inputs(trip("1", at(8), at(9)), trip("2", at(9.08), at(10))))
    later = trip_chains(inputs(trip("1", at(8), at(9)), trip("2", at(9 + 5 / 60), at(10))))
    assert len(levels(soon, COPENHAGEN, COSTS)) == 2
    assert len(levels(later, COPENHAGEN, COSTS)) == 1


def test_a_short_round_trip_has_a_least_price() -> None:
    assert unserved_ore(1_000, COSTS) == 5_000


def test_the_profile_is_local_time_and_adds_up() -> None:
    # 05:30 to 06:30 in Copenhagen: half an hour in each quarter of the day.
    demand_profile = profile(
        inputs(trip("1", at(4.5), at(5.5)), trip("1", at(10, day=5), at(11, day=5)))
    )
    assert demand_profile.share_of_hours == pytest.approx(
        {"m/A|car|workday|00": 0.25, "m/A|car|workday|06": 0.25, "m/A|car|weekend|06": 0.5}
    )
    assert demand_profile.vehicle_hours_per_day * demand_profile.days == pytest.approx(2.0)


def test_the_profile_forgets_what_is_older_than_two_weeks() -> None:
    demand_profile = profile(
        inputs(trip("1", at(4), at(5), "BB"), trip("1", at(10, day=30), at(11, day=30)))
    )
    assert demand_profile.days == 14
    assert list(demand_profile.share_of_hours) == ["m/A|car|workday|12"]  # summer time has begun


def test_a_profile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no round trips of m"):
        profile(inputs())
