"""From recorded round trips to the question which vehicle each could have had.

The trip chains are the planner's (`optimizer.demand`), so that both models count the same demand.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from optimizer.costs import energy_dkk_per_km
from optimizer.demand import TripChain, class_of, trip_chains
from optimizer.placement.problem import problem_of
from optimizer.study import DAYS_A_YEAR, StudyInputs, names_of, nothing_driven, of_days, thinness
from schemas.plans.assignment import AssignableVehicle, AssignmentInputs, WantedRoundTrip
from schemas.plans.demand import PlacementInputs


def assignment_inputs(
    rows: PlacementInputs, *, paid_for: bool = False
) -> StudyInputs[AssignmentInputs]:
    """Return the trip chains as round trips that want a vehicle, and vehicles where they stand.

    A vehicle costs its yearly cost for the local days from the first trip chain to the last;
    nothing where all are `paid_for` anyway, so that whatever they can serve is served. Shifts are
    not held against vehicles: what was driven outside them was wanted, and the vehicle was there.
    Raises `NothingToStudyError` without a trip chain.
    """
    chains = trip_chains(rows)
    driven = [chain for chain in chains if chain.ended_at > chain.started_at]
    if not driven:
        raise nothing_driven(rows)
    zone = ZoneInfo(rows.timezone)
    when, days = of_days(
        min(chain.started_at for chain in driven), max(chain.ended_at for chain in driven), zone
    )
    stands_at = problem_of(rows).stands_at
    vehicles = tuple(
        AssignableVehicle(
            vehicle_id=vehicle.vehicle_id,
            depot_id=depot_id,
            vehicle_class=class_of(vehicle),
            seats=vehicle.seats,
            cost_dkk=0.0 if paid_for else vehicle.yearly_cost_dkk * days / DAYS_A_YEAR,
            cost_dkk_per_km=energy_dkk_per_km(vehicle, rows.costs),
        )
        for vehicle in rows.vehicles
        if (depot_id := stands_at[vehicle.vehicle_id]) is not None
    )
    inputs = AssignmentInputs(
        municipality_id=rows.municipality_id,
        timezone=rows.timezone,
        costs=rows.costs,
        changeover_s=rows.costs.changeover_s,
        vehicles=vehicles,
        round_trips=_wanted(driven, zone),
    )
    cost = f"each at its yearly cost for {days} of {DAYS_A_YEAR:g} days"
    if paid_for:
        cost = "each paid for already"
    parts = _basis(rows, inputs, when, cost)
    free = sum(1 for vehicle in vehicles if not vehicle.cost_dkk)
    if free and not paid_for:
        parts.append(f"{free} vehicles have no yearly cost entered, and cost nothing to have.")
    if len(chains) > len(driven):
        parts.append(f"Left out: {len(chains) - len(driven)} trip chains that lasted no time.")
    parts += thinness(days)
    return StudyInputs(inputs, " ".join(parts))


def _wanted(driven: list[TripChain], zone: ZoneInfo) -> tuple[WantedRoundTrip, ...]:
    return tuple(
        WantedRoundTrip(
            round_trip_id=name,
            depot_id=chain.depot_id,
            vehicle_class=chain.vehicle_class,
            started_at=chain.started_at,
            ended_at=chain.ended_at,
            distance_m=chain.distance_m,
        )
        for name, chain in zip(names_of(driven, zone), driven, strict=True)
    )


def _basis(rows: PlacementInputs, inputs: AssignmentInputs, when: str, cost: str) -> list[str]:
    parts = [
        (
            f"{len(inputs.round_trips)} trip chains of {when}, and {len(inputs.vehicles)} vehicles "
            f"where they are at home, {cost} and its energy by the kilometre."
        ),
        (
            "A round trip needs one seat, since nobody counts people, and is taken to end where it "
            "began."
        ),
        "Shifts are not held against vehicles.",
    ]
    nowhere = len(rows.vehicles) - len(inputs.vehicles)
    if nowhere:
        parts.append(f"Left out: {nowhere} vehicles without a home depot that left none.")
    return parts
