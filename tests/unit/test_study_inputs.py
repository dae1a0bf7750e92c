"""From rows to the questions of assignment and carpooling: what counts, and what is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from optimizer.assignment.inputs import assignment_inputs
from optimizer.assignment.solve import assign
from optimizer.carpool.inputs import carpool_inputs
from optimizer.carpool.solve import plan_carpool
from optimizer.search import Search
from optimizer.study import NothingToStudyError, UnknownDepotError
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.plans.carpool import CarpoolRules
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.journeys import DrivenRoundTrip, DrivenTrip, JourneyRows

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
HALL, SCHOOL = "m/hall", "m/school"
DEPOTS = tuple(
    Depot(depot_id=name, municipality_id="m", name=name, lat=lat, lon=10.5, capacity=9)
    for name, lat in ((HALL, 56.30), (SCHOOL, 56.31))
)
SEARCH = Search(1, 5.0)


def vehicle(name: str, home: str | None = HALL, **given: Any) -> Vehicle:
    return Vehicle(
        vehicle_id=f"m/{name}",
        municipality_id="m",
        name=name,
        home_depot_id=home,
        **{
            "vehicle_type": VehicleType.CAR,
            "energy_source": EnergySource.PETROL,
            "consumption_per_km": 0.06,
            "yearly_cost_dkk": 36525.0,
            **given,
        },
    )


def observed(name: str, start_h: float, hours: float = 1.0, **given: Any) -> ObservedRoundTrip:
    return ObservedRoundTrip(
        vehicle_id=f"m/{name}",
        started_at=MONDAY + start_h * HOUR,
        ended_at=MONDAY + (start_h + hours) * HOUR,
        **{"start_depot_id": HALL, "end_depot_id": HALL, "distance_m": 20_000, **given},
    )


def placement(
    vehicles: tuple[Vehicle, ...], round_trips: tuple[ObservedRoundTrip, ...]
) -> PlacementInputs:
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=28,
        round_trip_max_s=36_000,
        depots=DEPOTS,
        vehicles=vehicles,
        round_trips=round_trips,
    )


def test_vehicles_cost_the_days_that_were_seen_and_the_energy_they_burn() -> None:
    # From Monday to the Sunday of the week after: 14 local days.
    rows = placement((vehicle("1"),), (observed("1", 0), observed("1", 13 * 24)))
    [assignable_vehicle] = assignment_inputs(rows).inputs.vehicles
    assert assignable_vehicle.cost_dkk == pytest.approx(14 * 100)
    assert assignable_vehicle.cost_dkk_per_km == pytest.approx(0.06 * (12.33 + 2.52 * 1.5))
    assert "2026-03-02 to 2026-03-15 (14 days)" in assignment_inputs(rows).basis
    assert "Thin" not in assignment_inputs(rows).basis
    short = assignment_inputs(placement((vehicle("1"),), (observed("1", 0),)))
    assert short.inputs.vehicles[0].cost_dkk == pytest.approx(100)
    assert "Thin: 1 of the days of a week" in short.basis


def test_a_vehicle_that_costs_more_than_own_cars_stands_unless_it_is_paid_for() -> None:
    # A car costs 100 DKK a day; the own car for its round trip of 20 km, 74 DKK.
    rows = placement((vehicle("1"), vehicle("2", SCHOOL)), (observed("1", 0),))
    posed = assignment_inputs(rows)
    plan = assign(posed.inputs, SEARCH)
    assert (plan.vehicles_used, plan.objective_dkk) == (0, 74)
    assert (
        "m/hall leaves 1 round trips without a car; worst at 2026-03-02 09:00 CET: 1 of 1 at once, "
        "while 1 of its 1 is free for it: using one more was not found to cost less than the own"
    ) in plan.explanation
    paid = assignment_inputs(rows, paid_for=True)
    assert "each paid for already and its energy" in paid.basis
    assert assign(paid.inputs, SEARCH).vehicles_used == 1


def test_days_are_local() -> None:
    # Half past eleven in the evening in UTC is the next day in Copenhagen.
    rows = placement((vehicle("1"),), (observed("1", 0), observed("1", 15.5, 0.25)))
    assert assignment_inputs(rows).inputs.vehicles[0].cost_dkk == pytest.approx(200)


def test_outings_are_the_planners_and_their_names_differ() -> None:
    vehicles = tuple(vehicle(name) for name in "123")
    rows = placement(
        vehicles,
        (
            observed("1", 0),
            observed("2", 0),
            observed("3", 0, 0.5),
            observed("3", 0.51, 0.5),  # again within a changeover: the same trip chain
            observed("3", 3, end_depot_id=SCHOOL),
        ),
    )
    inputs = assignment_inputs(rows).inputs
    assert [round_trip.round_trip_id for round_trip in inputs.round_trips] == [
        "hall car 2026-03-02 09:00 #2",
        "hall car 2026-03-02 09:00 #3",
        "hall car 2026-03-02 09:00",
        "hall car 2026-03-02 12:00",
    ]
    merged = next(
        round_trip for round_trip in inputs.round_trips if round_trip.distance_m == 40_000
    )
    assert (merged.started_at, merged.ended_at) == (MONDAY, MONDAY + 1.01 * HOUR)


def test_what_is_driven_outside_shifts_is_served() -> None:
    night = observed("1", 14, 1)  # 23:00 in Copenhagen
    entries: list[tuple[float, str]] = []
    inputs = assignment_inputs(placement((vehicle("1", yearly_cost_dkk=0),), (night,))).inputs
    plan = assign(inputs, SEARCH, lambda share, at: entries.append((share, at)))
    assert list(plan.assignment.values()) == ["m/1"]
    assert (entries[0][0], entries[-1][0]) == (0.0, 1.0)
    assert entries[-1][1] == f"{plan.objective_dkk:,.2f} DKK at best"


def test_a_vehicle_that_stands_nowhere_is_left_out_and_one_of_unknown_type_is_a_car() -> None:
    strays = (vehicle("1", None), vehicle("2", None), vehicle("3", vehicle_type="unknown"))
    posed = assignment_inputs(placement(strays, (observed("1", 0), observed("3", 0))))
    assert [entry.vehicle_id for entry in posed.inputs.vehicles] == ["m/1", "m/3"]
    assert {entry.vehicle_class for entry in posed.inputs.vehicles} == {VehicleType.CAR}
    assert "Left out: 1 vehicles without a home depot" in posed.basis


def test_an_outing_without_length_is_left_out_and_said() -> None:
    rows = placement((vehicle("1"),), (observed("1", 0), observed("1", 5, 0)))
    posed = assignment_inputs(rows)
    assert len(posed.inputs.round_trips) == 1
    assert "Left out: 1 trip chains that lasted no time" in posed.basis
    with pytest.raises(NothingToStudyError, match=r"no round trip of m .* 28 days .*--weeks"):
        assignment_inputs(placement((vehicle("1"),), (observed("1", 5, 0),)))


def driven(
    name: str, start_min: float, stays_min: tuple[float, ...], **given: Any
) -> DrivenRoundTrip:
    """Return trips of ten minutes, further away by a minute of arc each, with stays between."""
    at = MONDAY + start_min * MINUTE
    trips = []
    for number, stay in enumerate((*stays_min, 0.0), start=1):
        trips.append(
            DrivenTrip(
                started_at=at,
                ended_at=at + 10 * MINUTE,
                end_lat=56.3004 + number / 60,
                end_lon=10.50049,
            )
        )
        at += (10 + stay) * MINUTE
    return DrivenRoundTrip(
        vehicle_id=f"m/{name}",
        started_at=MONDAY + start_min * MINUTE,
        ended_at=trips[-1].ended_at,
        trips=tuple(reversed(trips)),
        **{"depot_id": HALL, "home_depot_id": HALL, "distance_m": 10_000, **given},
    )


def rides(vehicles: tuple[Vehicle, ...], *round_trips: DrivenRoundTrip) -> JourneyRows:
    return JourneyRows(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=28,
        depots=DEPOTS,
        vehicles=vehicles,
        round_trips=round_trips,
    )


def test_a_journey_goes_to_the_longest_stay_and_back() -> None:
    rows = rides((vehicle("1", SCHOOL, seats=4),), driven("1", 0, (20, 60, 40)))
    [journey] = carpool_inputs(rows).inputs.journeys
    assert (journey.started_at, journey.arrived_at) == (MONDAY, MONDAY + 40 * MINUTE)
    assert (journey.left_at, journey.returned_at) == (MONDAY + 100 * MINUTE, MONDAY + 160 * MINUTE)
    assert (journey.origin_lat, journey.origin_lon) == (56.30, 10.5)
    # To a hundred metres: 56.3004 and two minutes of arc.
    assert (journey.destination_lat, journey.destination_lon) == (56.334, 10.5)
    assert (journey.department, journey.depot_id, journey.seats) == ("hall", HALL, 4)


def test_the_department_is_the_home_then_and_without_one_the_depot_left() -> None:
    for home, department in ((SCHOOL, "school"), (None, "hall")):
        rows = rides((vehicle("1"),), driven("1", 0, (60,), home_depot_id=home))
        [journey] = carpool_inputs(rows).inputs.journeys
        assert journey.department == department


def test_tours_bicycles_and_ways_without_a_stop_are_left_out_and_counted() -> None:
    vehicles = (vehicle("1"), vehicle("2", vehicle_type="e_bike"))
    rows = rides(
        vehicles,
        driven("1", 0, (60,)),
        driven("1", 200, (30, 30)),  # half of all standing is enough
        driven("1", 400, (30, 20, 29)),
        driven("1", 800, ()),
        driven("2", 0, (60,)),
    )
    posed = carpool_inputs(rows)
    assert len(posed.inputs.journeys) == 2
    assert (
        "2 of 5 complete round trips of 2026-03-02 to 2026-03-02 (1 day), each to the stop where "
        "it stayed longest and back; left out: 1 of bicycles, 1 tours without a main stop, 1 "
        "without a stop on the way."
    ) in posed.basis
    with pytest.raises(NothingToStudyError, match=r"1 complete round trips, of them 1 of bicycles"):
        carpool_inputs(rides(vehicles, driven("2", 0, (60,))))
    with pytest.raises(NothingToStudyError, match=r"28 days .*: 0 complete round trips; push"):
        carpool_inputs(rides(()))


def test_depots_share_once_they_have_agreed() -> None:
    rows = rides(
        (vehicle("1"), vehicle("2", SCHOOL)),
        driven("1", 0, (60,)),
        driven("2", 5, (60,), depot_id=SCHOOL, home_depot_id=SCHOOL),
    )
    entries: list[tuple[float, str]] = []
    alone = plan_carpool(
        carpool_inputs(rows).inputs, SEARCH, progress=lambda *now: entries.append(now)
    )
    assert alone.groups == ()
    assert [what for _, what in entries] == [
        "ways between the places of 2 journeys",
        "groups that fit, of 2 journeys",
        "the best of 0 groups",
    ]
    assert [share for share, _ in entries] == pytest.approx([0, 1 / 3, 2 / 3])
    for pair in (("school", "hall"), (HALL, "school")):
        posed = carpool_inputs(rows, [pair])
        assert posed.inputs.agreements == (("hall", "school"),)
        assert "Agreed: hall with school." in posed.basis
        [group] = plan_carpool(posed.inputs, SEARCH).groups
        assert {member.department for member in group.members} == {"hall", "school"}
    with pytest.raises(UnknownDepotError, match=r"m has no depot 'yard' .*; it has hall, school"):
        carpool_inputs(rows, [("hall", "yard")])


def test_groups_are_made_by_the_rules_that_were_asked_for() -> None:
    rows = rides((vehicle("1"), vehicle("2")), driven("1", 0, (60,)), driven("2", 40, (60,)))
    for shift_s, groups in ((900, 0), (3600, 1)):
        posed = carpool_inputs(rows, (), CarpoolRules(max_shift_s=shift_s))
        assert f"and {shift_s / 60:g} min earlier or later" in posed.basis
        assert len(plan_carpool(posed.inputs, SEARCH).groups) == groups


def test_the_longest_ids_still_make_a_journey() -> None:
    name = "x" * 80
    [journey] = carpool_inputs(rides((vehicle(name),), driven(name, 0, (60,)))).inputs.journeys
    assert journey.journey_id == f"m/{'x' * 63}:20260302T080000Z"
