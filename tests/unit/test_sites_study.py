"""Where vehicles should stand: what is asked from rows, and what is answered in words."""

from __future__ import annotations

from datetime import timedelta
from math import cos, radians
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from optimizer.search import Search
from optimizer.sites.candidates import SitesWishes
from optimizer.sites.clusters import SITE_CELL_M, STOP_CELL_M, Stop, cell_of, clusters_of
from optimizer.sites.inputs import sites_inputs
from optimizer.sites.solve import plan_sites
from optimizer.study import ImpossibleOptionError, NothingToStudyError, UnknownDepotError
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.plans.journeys import DrivenRoundTrip, DrivenTrip, JourneyRows
from schemas.plans.plan import SolverStatus
from schemas.plans.sites import SiteFinding, SitesInputs, SitesPlan
from tests.sites_town import MONDAY, Position, cost_dkk, site, trip

SEARCH = Search(1, 10.0)
MINUTE = timedelta(minutes=1)
HALL, SCHOOL = (56.30, 10.50), (56.305, 10.50)
FAR = (56.42, 10.50)


def vehicle(name: str, **given: Any) -> Vehicle:
    return Vehicle(
        vehicle_id=f"m/{name}",
        municipality_id="m",
        name=name,
        **{
            "vehicle_type": VehicleType.CAR,
            "energy_source": EnergySource.PETROL,
            "consumption_per_km": 0.06,
            **given,
        },
    )


def driven(
    name: str, *stops: Position, day: int = 0, minute: float = 0, depot: str = "m/hall"
) -> DrivenRoundTrip:
    """Return a round trip of ten minutes a trip, and as many at each stop."""
    left = MONDAY + timedelta(days=day, minutes=minute)
    ends = (*stops, HALL)
    return DrivenRoundTrip(
        vehicle_id=f"m/{name}",
        depot_id=depot,
        home_depot_id=depot,
        started_at=left,
        ended_at=left + (20 * len(ends) - 10) * MINUTE,
        distance_m=20_000,
        trips=tuple(
            DrivenTrip(
                started_at=left + 20 * number * MINUTE,
                ended_at=left + (20 * number + 10) * MINUTE,
                end_lat=lat,
                end_lon=lon,
            )
            for number, (lat, lon) in enumerate(ends)
        ),
    )


def rows(*round_trips: DrivenRoundTrip, vehicles: tuple[Vehicle, ...] = ()) -> JourneyRows:
    given = {entry.vehicle_id: entry for entry in vehicles}
    used = sorted({round_trip.vehicle_id for round_trip in round_trips})
    return JourneyRows(
        municipality_id="m",
        timezone="UTC",
        horizon_days=28,
        depots=tuple(
            Depot(
                depot_id=f"m/{name}", municipality_id="m", name=name, lat=lat, lon=lon, capacity=2
            )
            for name, (lat, lon) in (("school", SCHOOL), ("hall", HALL))
        ),
        vehicles=tuple(given.get(text) or vehicle(text[2:]) for text in used),
        round_trips=round_trips,
    )


def fleet(*stops: Position, cars: int = 3, days: int = 8) -> JourneyRows:
    """Return rows in which some cars of the hall drive alike daily."""
    return rows(
        *(
            driven(str(car), *stops, day=day, minute=car)
            for car in range(1, cars + 1)
            for day in range(days)
        )
    )


def answer(given: JourneyRows, **wishes: Any) -> SitesPlan:
    return plan_sites(sites_inputs(given, SitesWishes(**wishes)).inputs, SEARCH)


def finding(plan: SitesPlan, name: str) -> SiteFinding:
    return next(entry for entry in plan.sites if entry.site_id == name)


def test_a_cell_is_half_a_kilometre_wherever_it_is() -> None:
    for lat in (0.0, 56.3, -70.0):
        north = {cell_of(lat + step / 111_200, 10.5, STOP_CELL_M) for step in range(0, 5000, 5)}
        assert len(north) in {10, 11}
        a_degree_m = 111_200 * cos(radians(lat))
        east = {cell_of(lat, 10.5 + step / a_degree_m, STOP_CELL_M) for step in range(0, 5000, 5)}
        assert len(east) in {10, 11}
    assert cell_of(56.3, 10.5, SITE_CELL_M) != cell_of(56.3, 10.54, SITE_CELL_M)
    assert cell_of(90.0, 180.0, STOP_CELL_M).row == 20_016


def test_a_cluster_is_the_mean_of_its_stops_in_any_order_and_knows_no_single_address() -> None:
    stops = [
        Stop(56.3001234 + step / 1e5, 10.5007 + step / 1e5, f"m/{step % 4}") for step in range(40)
    ]
    document = clusters_of(stops, STOP_CELL_M)
    Random(3).shuffle(stops)
    assert clusters_of(stops, STOP_CELL_M) == document
    assert sum(cluster.stops for cluster in document.values()) == 40
    assert {cluster.vehicles for cluster in document.values()} == {4}
    [alone] = clusters_of([Stop(56.3001234, 10.5007891, "m/1")], STOP_CELL_M).values()
    assert alone.place == (56.3, 10.501)


def test_only_the_ways_to_the_first_stop_and_back_from_the_last_one_count() -> None:
    tour = sites_inputs(rows(driven("1", FAR, (56.9, 10.9), HALL))).inputs.round_trips[0]
    assert (tour.first_lat, tour.first_lon) == FAR
    assert (tour.last_lat, tour.last_lon) == HALL


def test_a_place_is_a_candidate_where_three_vehicles_stopped_away_from_depots() -> None:
    near, home = (56.306, 10.501), (56.35, 10.6)
    given = rows(
        *(driven(str(car), FAR, day=day) for car in (1, 2, 3) for day in range(3)),
        *(driven("4", home, day=day) for day in range(7)),
        *(driven(str(car), near, day=9) for car in (1, 2, 3)),
    )
    posed = sites_inputs(given)
    assert [entry.site_id for entry in posed.inputs.sites] == ["hall", "school", "place 1"]
    assert posed.inputs.sites[2].lat == pytest.approx(FAR[0], abs=1e-9)
    assert "To choose from: 2 depots and 1 places" in posed.basis
    assert "No places: 1 within 1 km of a depot." in posed.basis
    assert "Nor 1 where fewer than 3 vehicles stopped: they may be homes." in posed.basis
    assert "19 of 19 complete round trips of 2026-03-02 to 2026-03-11 (10 days)" in posed.basis
    none = sites_inputs(given, SitesWishes(places=0))
    assert [entry.site_id for entry in none.inputs.sites] == ["hall", "school"]


def test_places_are_in_the_order_of_their_stops_and_only_so_many() -> None:
    given = rows(
        *(driven(str(car), FAR) for car in (1, 2, 3)),
        *(driven(str(car), (56.5, 10.5), day=day) for car in (1, 2, 3) for day in (1, 2)),
    )
    first, second = sites_inputs(given).inputs.sites[2:]
    assert [first.lat, second.lat] == pytest.approx([56.5, 56.42])
    assert len(sites_inputs(given, SitesWishes(places=1)).inputs.sites) == 3


def test_what_a_kilometre_costs_is_energy_co2e_and_time() -> None:
    given = rows(
        driven("1", FAR),
        driven("bike", FAR, minute=1),
        driven("what", FAR, minute=2),
        vehicles=(
            vehicle("bike", vehicle_type="bike", energy_source="muscle", consumption_per_km=0),
            vehicle("what", vehicle_type="unknown", energy_source="unknown", consumption_per_km=0),
        ),
    )
    posed = sites_inputs(given)
    car, bike, what = posed.inputs.round_trips
    assert car.energy_dkk_per_km == pytest.approx(0.06 * 12.33)
    assert car.co2e_kg_per_km == pytest.approx(0.06 * 2.52)
    assert (car.staff_dkk_per_km, bike.staff_dkk_per_km) == (300 / 50, 300 / 20)
    assert (bike.energy_dkk_per_km, bike.co2e_kg_per_km) == (0, 0)
    assert [site_round_trip.takes_place for site_round_trip in (car, bike, what)] == [
        True,
        False,
        True,
    ]
    assert "1 round trips are of vehicles without a consumption entered" in posed.basis
    assert "the time of who drives at 300 DKK an hour" in posed.basis
    off = sites_inputs(given, SitesWishes(staff_time=False))
    assert {round_trip.staff_dkk_per_km for round_trip in off.inputs.round_trips} == {0.0}
    assert "and not the time of who drives" in off.basis


def test_closing_a_depot_that_costs_more_than_it_spares_is_told_with_its_numbers() -> None:
    plan = answer(fleet((56.29, 10.50)), places=0)
    assert plan.explanation.startswith("Keep hall; close school. A year costs ")
    school = finding(plan, "school")
    assert not school.is_open
    assert school.reason == (
        "Closing school puts no round trip further, for an open site is as near to each: saves "
        "25,000 DKK a year."
    )
    hall = finding(plan, "hall")
    assert hall.reason.startswith("It is the only site: all 1,096 round trips a year are served")
    # Three leave within three minutes, and two may park.
    assert "At most 3 of its cars and vans are out at once, and it has 2 parking" in hall.reason
    assert "Parking places are missing: hall needs 3 and has 2." in plan.explanation
    assert (plan.as_driven.sites, plan.proposed.sites) == (2, 1)


def test_a_busy_place_far_away_is_opened_and_not_shown_to_more_than_a_hundredth() -> None:
    exact = (56.4237, 10.5268)
    plan = answer(fleet(exact))
    assert "Close hall, school; open place 1 (near 56.42, 10.53)." in plan.explanation
    place = finding(plan, "place 1")
    assert (place.lat, place.lon) == (56.42, 10.53)
    assert "56.424" not in plan.model_dump_json()
    hall = finding(plan, "hall")
    assert hall.round_trips_per_year == 0
    assert (hall.lat, hall.lon) == HALL


def test_what_must_stay_stays_and_its_own_cost_is_counted() -> None:
    kept = answer(fleet(FAR), keep=["school"], depot_dkk={"school": 70_000, "m/hall": 10})
    school = finding(kept, "school")
    assert school.is_open
    assert school.must_stay
    assert school.reason.startswith("It must stay, as asked. No round trip is nearer to school")
    assert "without it 70,000 DKK a year would be saved" in school.reason
    assert kept.proposed.sites_dkk == pytest.approx(70_000 + 30_000)
    posed = sites_inputs(fleet(FAR), SitesWishes(keep=["school"], depot_dkk={"hall": 10.0}))
    assert "A depot costs 25,000 DKK a year, hall 10." in posed.basis
    assert "Must stay: school." in posed.basis


def test_exactly_so_many_sites_are_proposed_also_where_fewer_would_do() -> None:
    for count, words in ((1, "1 site"), (2, "2 sites"), (3, "3 sites")):
        plan = answer(fleet(FAR), count=count)
        assert plan.proposed.sites == count == sum(entry.is_open for entry in plan.sites)
        assert f"With exactly {words}, as asked." in plan.explanation


def test_sites_that_cost_more_than_they_spare_are_a_loss_and_not_more_of_a_saving() -> None:
    plan = answer(fleet(FAR), count=3, site_dkk=1_000_000)
    dearer_dkk = plan.proposed.cost_dkk - plan.nearest.cost_dkk
    assert dearer_dkk > 0
    assert f"and {dearer_dkk:,.0f} DKK lost with the proposed sites." in plan.explanation


@pytest.mark.parametrize(
    ("wishes", "error", "words"),
    [
        ({"keep": ["yard"]}, UnknownDepotError, "no depot 'yard' that could stay; it has hall, s"),
        ({"depot_dkk": {"n/hall": 1}}, UnknownDepotError, "no depot 'hall' that could cost that"),
        (
            {"count": 1, "keep": ["hall", "school"]},
            ImpossibleOptionError,
            "2 must stay .hall, scho",
        ),
        ({"count": 4}, ImpossibleOptionError, "there are 3 to choose from: 2 depots and 1 places"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused_in_words(
    wishes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        sites_inputs(fleet(FAR), SitesWishes(**wishes))


def test_without_a_stop_there_is_nothing_to_study() -> None:
    with pytest.raises(NothingToStudyError, match="0 came back; push more fixes"):
        sites_inputs(rows())
    with pytest.raises(NothingToStudyError, match="1 came back"):
        sites_inputs(rows(driven("1")))
    posed = sites_inputs(rows(driven("1"), driven("2", FAR)))
    assert "1 of 2 complete round trips" in posed.basis
    assert "left out: 1 without a stop on the way" in posed.basis
    assert "Thin: 1 of the days of a week" in posed.basis


def test_inputs_that_contradict_themselves_are_refused() -> None:
    hall = site("hall", HALL)
    given = {"municipality_id": "m", "observed_days": 7, "round_trips": (trip("hall", FAR),)}
    for sites, count, words in (
        ((hall, hall), None, "hall comes twice"),
        ((site("school", SCHOOL),), None, "round trips left m/hall; give each depot as a site"),
        ((hall,), 2, "2 sites of 1, 0 of which must stay; give a number from 1 to 1"),
    ):
        with pytest.raises(ValidationError, match=words):
            SitesInputs(sites=sites, count=count, **given)


def many(sites: int, trips: int) -> SitesInputs:
    random = Random(5)

    def at() -> Position:
        return 56.2 + random.random() * 0.4, 10.2 + random.random() * 0.7

    places = (site(f"place {number}", at(), 4_000) for number in range(sites - 1))
    return SitesInputs(
        municipality_id="m",
        observed_days=28,
        sites=(site("hall", at(), 4_000), *places),
        round_trips=tuple(trip("hall", at(), at(), hour) for hour in range(trips)),
    )


def test_a_tiny_limit_still_gives_sites_and_an_honest_bound() -> None:
    inputs = many(80, 200)
    best = plan_sites(inputs, Search(1, 60.0))
    assert best.status is SolverStatus.OPTIMAL
    cut = plan_sites(inputs, Search(1, 1e-9))
    assert cut.status is SolverStatus.FEASIBLE
    assert cut.bound_dkk <= best.objective_dkk * (1 + 1e-9)
    assert best.objective_dkk <= cut.objective_dkk * (1 + 1e-9)
    assert 0 < cut.gap < 1
    opened = {entry.site_id for entry in cut.sites if entry.is_open}
    chosen = [entry for entry in inputs.sites if entry.site_id in opened]
    assert cut.objective_dkk == pytest.approx(cost_dkk(inputs, chosen))
    assert plan_sites(inputs, Search(1, 1e-9)) == cut


def test_what_sites_cost_is_part_of_the_inputs() -> None:
    assert Costs().site_dkk_per_year == 25_000
    plain, dear = answer(fleet(FAR)), answer(fleet(FAR), site_dkk=26_000)
    assert plain.inputs_hash != dear.inputs_hash
    assert plain == answer(fleet(FAR))
    entries: list[tuple[float, str]] = []
    plan_sites(
        sites_inputs(fleet(FAR)).inputs, SEARCH, lambda share, at: entries.append((share, at))
    )
    assert entries == [(0.0, "3 sites for 1 ways"), (1.0, f"{plain.objective_dkk:,.0f} DKK a year")]
