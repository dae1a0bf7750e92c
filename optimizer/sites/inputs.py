"""From recorded round trips to the question where vehicles should stand.

Where a depot is decides the way to a round trip's first stop and the way back from its last one;
what is driven between them stays, wherever the vehicle is at home. So these two are what is asked
to be near, and a tour of ten stops counts no more than a drive to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.demand import class_of
from optimizer.sites.candidates import (
    MIN_VEHICLES,
    NEAR_M,
    Candidates,
    SitesWishes,
    candidates,
    check_count,
)
from optimizer.sites.clusters import (
    SITE_CELL_M,
    STOP_CELL_M,
    Cluster,
    GridCell,
    Stop,
    cell_of,
    clusters_of,
)
from optimizer.study import NothingToStudyError, StudyInputs, depot_named, of_days, thinness
from optimizer.travel import speed_kmh
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Vehicle
from schemas.fleet.vehicle_type import MOTOR
from schemas.plans.journeys import DrivenRoundTrip, JourneyRows
from schemas.plans.sites import CandidateSite, SiteRoundTrip, SitesInputs

_NOT_DECIDED: Final = (
    "Not decided here: parking places, of which only the need is told, and which vehicle moves "
    "where."
)


def sites_inputs(rows: JourneyRows, wishes: SitesWishes | None = None) -> StudyInputs[SitesInputs]:
    """Return complete round trips, and present depots with the busiest places to choose from.

    Raises `NothingToStudyError` without a round trip that stopped anywhere, `UnknownDepotError`,
    and `ImpossibleWishError` for a count of sites that cannot be.
    """
    wanted = wishes if wishes is not None else SitesWishes()
    depot_ids = [depot.depot_id for depot in rows.depots]
    staying = {
        depot_named(depot_id, rows.municipality_id, depot_ids, "stay") for depot_id in wanted.keep
    }
    dkk = {
        depot_named(depot_id, rows.municipality_id, depot_ids, "cost that"): cost
        for depot_id, cost in wanted.depot_dkk.items()
    }
    driven = [round_trip for round_trip in rows.round_trips if len(round_trip.trips) > 1]
    if not driven:
        raise NothingToStudyError(
            f"no round trip of {rows.municipality_id} in the last {rows.horizon_days} days that "
            f"there are fixes of came back to its depot and stopped on the way: "
            f"{len(rows.round_trips)} came back; push more fixes, enter depots and vehicles, or "
            "look further back with --weeks"
        )
    stops = [stop for depot_id in driven for stop in _ends(depot_id)]
    clusters = clusters_of(stops, STOP_CELL_M)
    places = candidates(rows, wanted, stops, staying, dkk)
    check_count(wanted.count, places.sites)
    zone = ZoneInfo(rows.timezone)
    when, days = of_days(
        min(depot_id.started_at for depot_id in driven),
        max(depot_id.ended_at for depot_id in driven),
        zone,
    )
    vehicles = {vehicle.vehicle_id: vehicle for vehicle in rows.vehicles}
    inputs = SitesInputs(
        municipality_id=rows.municipality_id,
        costs=rows.costs,
        observed_days=days,
        sites=places.sites,
        round_trips=tuple(
            _round_trip(
                depot_id,
                vehicles[depot_id.vehicle_id],
                clusters,
                rows.costs,
                staff_time=wanted.staff_time,
            )
            for depot_id in driven
        ),
        count=wanted.count,
    )
    parts = [
        _counted(rows, len(driven), when),
        _located(clusters, places, rows.costs),
        _costs(wanted, places.sites, rows.costs),
        _NOT_DECIDED,
        *_free(driven, vehicles),
        *thinness(days),
    ]
    return StudyInputs(inputs, " ".join(parts))


def _ends(driven_round_trip: DrivenRoundTrip) -> Iterator[Stop]:
    """Yield the first stop and the last one."""
    for trip in (driven_round_trip.trips[0], driven_round_trip.trips[-2]):
        yield Stop(trip.end_lat, trip.end_lon, driven_round_trip.vehicle_id)


def _round_trip(
    driven_round_trip: DrivenRoundTrip,
    vehicle: Vehicle,
    clusters: Mapping[GridCell, Cluster],
    costs: Costs,
    *,
    staff_time: bool,
) -> SiteRoundTrip:
    first, last = (
        clusters[cell_of(stop.lat, stop.lon, STOP_CELL_M)].place
        for stop in _ends(driven_round_trip)
    )
    source = vehicle.energy_source
    kind = vehicle.vehicle_type
    return SiteRoundTrip(
        depot_id=driven_round_trip.depot_id,
        started_at=driven_round_trip.started_at,
        ended_at=driven_round_trip.ended_at,
        first_lat=first.lat,
        first_lon=first.lon,
        last_lat=last.lat,
        last_lon=last.lon,
        energy_dkk_per_km=vehicle.consumption_per_km * costs.energy_dkk_per_unit(source),
        co2e_kg_per_km=vehicle.consumption_per_km * costs.co2e_kg_per_unit(source),
        staff_dkk_per_km=costs.staff_dkk_per_h / speed_kmh(kind, costs) if staff_time else 0.0,
        takes_place=_is_motor(vehicle),
    )


def _counted(rows: JourneyRows, driven: int, when: str) -> str:
    stopless = len(rows.round_trips) - driven
    left_out = f"; left out: {stopless} without a stop on the way" if stopless else ""
    return (
        f"{driven} of {len(rows.round_trips)} complete round trips of {when}, scaled to a year"
        f"{left_out}. What counts is the way to the first stop and back from the last one; what is "
        "driven between them stays."
    )


def _located(clusters: Mapping[GridCell, Cluster], located: Candidates, costs: Costs) -> str:
    places = sum(1 for site in located.sites if site.depot_id is None)
    parts = [
        "Each is taken to leave the nearest open site, wherever those who make it work.",
        f"Stops are taken together in {len(clusters)} cells of {STOP_CELL_M:g} m.",
        f"Ways as the crow flies, times {costs.road_factor:g}.",
        (
            f"To choose from: {len(located.sites) - places} depots and {places} places, each "
            f"{SITE_CELL_M / 1000:g} km across, where most stops are."
        ),
    ]
    if located.at_depots:
        parts.append(f"No places: {located.at_depots} within {NEAR_M / 1000:g} km of a depot.")
    if located.of_few:
        parts.append(
            f"Nor {located.of_few} where fewer than {MIN_VEHICLES} vehicles stopped: they may be "
            "homes."
        )
    return " ".join(parts)


def _costs(wishes: SitesWishes, sites: Sequence[CandidateSite], costs: Costs) -> str:
    site_dkk = wishes.dkk_of_site(costs)
    staff = (
        f"and the time of who drives at {costs.staff_dkk_per_h:g} DKK an hour"
        if wishes.staff_time
        else "and not the time of who drives"
    )
    deviations = "".join(
        f", {site.site_id} {site.dkk_per_year:,.0f}"
        for site in sites
        if site.depot_id is not None and site.dkk_per_year != site_dkk
    )
    kept = ", ".join(site.site_id for site in sites if site.must_stay)
    parts = [
        f"A kilometre costs the energy of the vehicle that drove it, CO2e at its price, {staff}.",
        f"A depot costs {site_dkk:,.0f} DKK a year{deviations}.",
        f"A new place costs {costs.fitting_out_dkk_per_year:,.0f} more, to fit it out.",
    ]
    return " ".join([*parts, f"Must stay: {kept}."] if kept else parts)


def _free(driven: Sequence[DrivenRoundTrip], vehicles: Mapping[str, Vehicle]) -> list[str]:
    free = sum(
        1
        for depot_id in driven
        if not vehicles[depot_id.vehicle_id].consumption_per_km
        and _is_motor(vehicles[depot_id.vehicle_id])
    )
    if not free:
        return []
    return [f"{free} round trips are of vehicles without a consumption entered: no energy there."]


def _is_motor(vehicle: Vehicle) -> bool:
    """Return whether a vehicle takes a parking place; one of unknown type counts as a car."""
    return class_of(vehicle) in MOTOR
