"""From recorded round trips and vehicles to the question which fleet would do.

The trip chains are the planner's (`optimizer.demand`), so that both models count the same demand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.composition.catalogue import CATALOGUE, CHARGING_KW
from optimizer.composition.current_fleet import ALIKE, PresentKinds, present_kinds
from optimizer.demand import TripChain, trip_chains
from optimizer.placement.problem import problem_of
from optimizer.study import StudyInputs, names_of, nothing_driven, of_days, thinness
from schemas.fleet.costs import Costs
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.composition import (
    Cargo,
    CompositionDepot,
    CompositionInputs,
    CompositionRoundTrip,
    CompositionRules,
    PresentVehicle,
    VehicleKind,
)
from schemas.plans.demand import PlacementInputs

_PLAIN: Final = CompositionRules()


def composition_inputs(
    rows: PlacementInputs,
    rules: CompositionRules = _PLAIN,
    catalogue: Sequence[VehicleKind] = CATALOGUE,
    *,
    vans_as_cars: bool = False,
) -> StudyInputs[CompositionInputs]:
    """Return trip chains with what they need, present vehicles by kind, and kinds to choose from.

    Nobody records cargo: what a van drove needs a van, unless `vans_as_cars`; what a cargo bike
    drove needs its box; what a car drove needs neither. Raises `NothingToStudyError` without an
    trip chain, and for a vehicle whose cost is neither entered nor to be had from the catalogue.
    """
    all_chains = trip_chains(rows)
    driven = [
        trip_chain for trip_chain in all_chains if trip_chain.ended_at > trip_chain.started_at
    ]
    if not driven:
        raise nothing_driven(rows)
    zone = ZoneInfo(rows.timezone)
    when, days = of_days(
        min(trip_chain.started_at for trip_chain in driven),
        max(trip_chain.ended_at for trip_chain in driven),
        zone,
    )
    stands_at = problem_of(rows).stands_at
    placed = [vehicle for vehicle in rows.vehicles if stands_at[vehicle.vehicle_id] is not None]
    ours = present_kinds(placed, catalogue)
    inputs = CompositionInputs(
        municipality_id=rows.municipality_id,
        costs=rows.costs,
        timezone=rows.timezone,
        observed_days=days,
        kinds=(*ours.kinds, *catalogue),
        depots=tuple(
            CompositionDepot(
                depot_id=depot.depot_id,
                name=depot.name,
                capacity=depot.capacity,
                charger_count=depot.charger_count,
            )
            for depot in rows.depots
        ),
        vehicles=tuple(
            PresentVehicle(
                vehicle_id=vehicle.vehicle_id,
                depot_id=depot_id,
                kind_id=ours.kind_of[vehicle.vehicle_id],
            )
            for vehicle in placed
            if (depot_id := stands_at[vehicle.vehicle_id]) is not None
        ),
        round_trips=tuple(
            _round_trip(trip_chain, name, vans_as_cars=vans_as_cars)
            for trip_chain, name in zip(driven, names_of(driven, zone), strict=True)
        ),
        rules=_with_changeover(rules, rows.costs),
    )
    parts = [
        f"{len(driven)} trip chains of {when}, scaled to a year.",
        _kinds(ours, catalogue),
        _needs(vans_as_cars=vans_as_cars),
        "A trip chain is taken to end where it began.",
        _own_cars(rules),
        *_left_out(rows, len(placed), len(all_chains) - len(driven)),
    ]
    parts += thinness(days)
    return StudyInputs(inputs, " ".join(parts))


def _with_changeover(rules: CompositionRules, costs: Costs) -> CompositionRules:
    """Return rules with the changeover of the costs, where they have none of their own."""
    if "changeover_s" in rules.model_fields_set:
        return rules
    return rules.model_copy(update={"changeover_s": costs.changeover_s})


def _round_trip(trip_chain: TripChain, name: str, *, vans_as_cars: bool) -> CompositionRoundTrip:
    return CompositionRoundTrip(
        round_trip_id=name,
        depot_id=trip_chain.depot_id,
        started_at=trip_chain.started_at,
        ended_at=trip_chain.ended_at,
        distance_m=trip_chain.distance_m,
        cargo=_cargo(trip_chain.vehicle_class, vans_as_cars=vans_as_cars),
        vehicle_id=trip_chain.vehicle_id,
    )


def _cargo(vehicle_class: VehicleType, *, vans_as_cars: bool) -> Cargo:
    if vehicle_class is VehicleType.VAN and not vans_as_cars:
        return Cargo.LARGE
    return Cargo.SMALL if vehicle_class is VehicleType.CARGO_BIKE else Cargo.NONE


def _needs(*, vans_as_cars: bool) -> str:
    van = "no more than a car" if vans_as_cars else "a van"
    return (
        f"Nobody records people or cargo: a round trip needs one seat, what a van drove "
        f"needs {van}, what a cargo bike drove needs its box, and the rest carries nothing."
    )


def _kinds(ours: PresentKinds, catalogue: Sequence[VehicleKind]) -> str:
    names = ", ".join(sorted(vehicle_kind.kind_id for vehicle_kind in catalogue))
    parts = [
        (
            f"{len(ours.kind_of)} vehicles are {len(ours.kinds)} kinds: of one type, energy source "
            f"and seats, none costs or burns more than {ALIKE:g} times another of its kind. To "
            f"choose from are these and {names}."
        )
    ]
    if any(kind.on_charger for kind in ours.kinds):
        parts.append(f"Electric cars and vans of ours charge at {CHARGING_KW:g} kW.")
    parts += [
        f"{count} vehicles have no {what} entered, and that of the nearest kind to choose from."
        for what, count in sorted(ours.lacked.items())
    ]
    return " ".join(parts)


def _own_cars(rules: CompositionRules) -> str:
    if rules.own_cars:
        return "What is dearer by a vehicle goes by an own car, as if everybody had one."
    return "Own cars may not: a vehicle takes each trip chain."


def _left_out(rows: PlacementInputs, placed: int, momentary: int) -> list[str]:
    parts: list[str] = []
    nowhere = len(rows.vehicles) - placed
    if nowhere:
        parts.append(f"Left out: {nowhere} vehicles without a home depot that left none.")
    if momentary:
        parts.append(f"Left out: {momentary} trip chains that lasted no time.")
    return parts
