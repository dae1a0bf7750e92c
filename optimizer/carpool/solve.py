"""Carpooling: which journeys share a vehicle, so that most is saved.

All groups that the rules allow are listed (`optimizer.carpool.groups`), and CP-SAT packs them: no
journey in two, no vehicle in two at once. What counts is energy, CO2e at its price and, where it
is given a worth, each vehicle less at a depot's peak. Time of staff does not count: the rules say
how much of it people give.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any, Final

import numpy as np
from ortools.sat.python import cp_model

from optimizer.carpool.groups import (
    CandidateGroup,
    Grouping,
    TravelMatrices,
    epoch_of,
    legs_of,
    travel_matrices,
)
from optimizer.costs import ORE_PER_DKK
from optimizer.search import ProgressCallback, Search
from optimizer.travel import Geodesic
from schemas.fleet.costs import Costs
from schemas.ids import local_part
from schemas.plans.carpool import CarpoolGroup, CarpoolInputs, CarpoolMember, CarpoolPlan, DepotPeak
from schemas.plans.plan import SolverStatus
from schemas.plans.travel import Travel

BY_PACKING: Final = "CP-SAT, over all groups that the rules allow"
BY_JOURNEYS: Final = (
    "the energy and CO2e of every journey that finds somebody to ride with, and every vehicle at "
    "the peaks: there are too many groups to list them all"
)

_MOST_GROUPS: Final = 60_000
_NOISE: Final = 1e-4


def plan_carpool(
    inputs: CarpoolInputs,
    search: Search,
    travel: Travel | None = None,
    progress: ProgressCallback | None = None,
) -> CarpoolPlan:
    """Plan who rides with whom. Ways are geodesic unless `travel` knows better.

    Same inputs, seed and limit (CP-SAT's deterministic time), same plan. Nothing shared is a plan
    too: what a limit cuts short is never worse. `progress` hears of each of the three steps. Raises
    `schemas.plans.travel.TravelError` where ways cannot be had.
    """
    if not inputs.journeys:
        return _described(inputs, search, _hash(inputs, None), _Packing((), SolverStatus.OPTIMAL))

    def tell(step: int, what: str) -> None:
        if progress is not None:
            progress(step / 3, what)

    tell(0, f"ways between the places of {len(inputs.journeys)} journeys")
    ways = travel_matrices(inputs, travel if travel is not None else Geodesic(inputs.costs))
    tell(1, f"groups that fit, of {len(inputs.journeys)} journeys")
    groups, complete = Grouping(inputs, ways).groups(_MOST_GROUPS)
    tell(2, f"the best of {len(groups)} groups")
    packing = _packed(inputs, groups, search, complete=complete)
    return _described(inputs, search, _hash(inputs, ways), packing)


@dataclass(frozen=True, slots=True)
class _Packing:
    groups: tuple[CandidateGroup, ...]
    status: SolverStatus
    bound_ore: int = 0
    bound_by: str = BY_PACKING


def _worth_ore(group: CandidateGroup, costs: Costs) -> int:
    """Return what a group saves, the price of CO2e included."""
    return round((group.saved_dkk + group.saved_co2e_kg * costs.co2_price_dkk_per_kg) * ORE_PER_DKK)


def _packed(
    inputs: CarpoolInputs, candidates: Sequence[CandidateGroup], search: Search, *, complete: bool
) -> _Packing:
    freed_ore = round(inputs.rules.freed_vehicle_dkk * ORE_PER_DKK)
    groups = [group for group in candidates if _worth_ore(group, inputs.costs) > 0 or freed_ore]
    model, chosen = _model(inputs, groups, freed_ore)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = search.seed
    solver.parameters.max_deterministic_time = search.time_limit_s
    solver.parameters.linearization_level = 2
    status = solver.solve(model)
    picked = _one_by_one(inputs, groups)
    if status in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        picked = tuple(
            group for group, number in zip(groups, chosen, strict=True) if solver.value(number)
        )
    everything_ore = _everything_ore(inputs, candidates)
    if not complete:
        return _Packing(picked, SolverStatus.FEASIBLE, everything_ore, BY_JOURNEYS)
    bound_ore = math.floor(solver.best_objective_bound + _NOISE)
    if status == cp_model.OPTIMAL:
        return _Packing(picked, SolverStatus.OPTIMAL, bound_ore)
    if status != cp_model.FEASIBLE or bound_ore > everything_ore:
        return _Packing(picked, SolverStatus.FEASIBLE, everything_ore, BY_JOURNEYS)
    return _Packing(picked, SolverStatus.FEASIBLE, bound_ore)


def _one_by_one(
    inputs: CarpoolInputs, groups: Sequence[CandidateGroup]
) -> tuple[CandidateGroup, ...]:
    """Return groups taken one after the other, the best first: what a tiny limit leaves us with."""
    picked: list[CandidateGroup] = []
    taken: set[int] = set()
    for group in sorted(
        groups, key=lambda group: (-_worth_ore(group, inputs.costs), group.members)
    ):
        vehicle_id = inputs.journeys[group.members[0]].vehicle_id
        busy = any(
            inputs.journeys[number.members[0]].vehicle_id == vehicle_id
            and _overlap(_out_s(number), _out_s(group))
            for number in picked
        )
        if _worth_ore(group, inputs.costs) > 0 and not busy and taken.isdisjoint(group.members):
            picked.append(group)
            taken.update(group.members)
    return tuple(picked)


def _model(
    inputs: CarpoolInputs, groups: Sequence[CandidateGroup], freed_ore: int
) -> tuple[cp_model.CpModel, list[Any]]:
    """Return the packing as a model, and one variable a group."""
    model = cp_model.CpModel()
    chosen = [model.new_bool_var(f"group {number}") for number in range(len(groups))]
    of_journey: defaultdict[int, list[Any]] = defaultdict(list)
    by_vehicle: defaultdict[str, list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        for member in group.members:
            of_journey[member].append(chosen[number])
        by_vehicle[inputs.journeys[group.members[0]].vehicle_id].append(number)
        model.add_hint(chosen[number], value=False)
    for variables in of_journey.values():
        model.add_at_most_one(variables)
    for numbers in by_vehicle.values():
        for first, second in combinations(numbers, 2):
            same = groups[first].members[0] == groups[second].members[0]
            if not same and _overlap(_out_s(groups[first]), _out_s(groups[second])):
                model.add_at_most_one(chosen[first], chosen[second])
    worth = sum(
        _worth_ore(group, inputs.costs) * variable
        for group, variable in zip(groups, chosen, strict=True)
    )
    if freed_ore:
        worth += freed_ore * _freed(model, inputs, groups, chosen)
    model.maximize(worth)
    return model, chosen


def _everything_ore(inputs: CarpoolInputs, groups: Sequence[CandidateGroup]) -> int:
    """Return what no packing can exceed: every passenger's own journey, and all vehicles."""
    ridden: defaultdict[int, float] = defaultdict(float)
    for group in groups:
        if len(group.members) == 2:  # noqa: PLR2004 - the driver and one more
            passenger = group.members[1]
            ridden[passenger] = max(ridden[passenger], group.ridden_dkk)
    journeys_ore = sum(math.ceil(dkk * ORE_PER_DKK) + 1 for dkk in ridden.values())
    vehicles = sum(_peaks(inputs, ()).values())
    return journeys_ore + vehicles * round(inputs.rules.freed_vehicle_dkk * ORE_PER_DKK)


TimeSpan = tuple[float, float]
"""Seconds since the epoch: from, until before."""


def _out_s(group: CandidateGroup) -> TimeSpan:
    """Return when a group's vehicle is out."""
    return group.ways[0].from_s, group.ways[-1].until_s


def _overlap(span: TimeSpan, other: TimeSpan) -> bool:
    return span[0] < other[1] and other[0] < span[1]


def _alone_s(inputs: CarpoolInputs) -> list[TimeSpan]:
    """Return when each journey's own vehicle is out, as recorded."""
    epoch = epoch_of(inputs)
    return [
        ((journey.started_at - epoch).total_seconds(), (journey.ended_at - epoch).total_seconds())
        for journey in inputs.journeys
    ]


def _freed(
    model: cp_model.CpModel,
    inputs: CarpoolInputs,
    groups: Sequence[CandidateGroup],
    chosen: Sequence[Any],
) -> Any:
    """Return the vehicles that the depots' peaks are less, tied to the chosen groups."""
    alone_s = _alone_s(inputs)
    freed: list[Any] = []
    for depot_id, before in _peaks(inputs, ()).items():
        mine = [
            number for number, journey in enumerate(inputs.journeys) if journey.depot_id == depot_id
        ]
        touching = [
            (group, variable)
            for group, variable in zip(groups, chosen, strict=True)
            if any(inputs.journeys[member].depot_id == depot_id for member in group.members)
        ]
        peak = model.new_int_var(0, before, f"peak of {depot_id}")
        instants = {alone_s[number][0] for number in mine} | {
            _out_s(group)[0] for group, _ in touching
        }
        for instant in sorted(instants):
            out = sum(1 for number in mine if _within(instant, alone_s[number]))
            terms: list[Any] = []
            for group, variable in touching:
                change = -sum(
                    1
                    for member in group.members
                    if inputs.journeys[member].depot_id == depot_id
                    and _within(instant, alone_s[member])
                )
                if inputs.journeys[group.members[0]].depot_id == depot_id:
                    change += _within(instant, _out_s(group))
                if change:
                    terms.append(change * variable)
            if out or terms:
                model.add(out + sum(terms) <= peak)
        freed.append(before - peak)
    return sum(freed)


def _within(instant: float, span: TimeSpan) -> bool:
    return span[0] <= instant < span[1]


def _peaks(inputs: CarpoolInputs, groups: Sequence[CandidateGroup]) -> dict[str | None, int]:
    """Return how many vehicles of each depot are out at once at most, with these groups."""
    shared = {member for group in groups for member in group.members}
    spans: defaultdict[str | None, list[TimeSpan]] = defaultdict(list)
    for number, span in enumerate(_alone_s(inputs) if inputs.journeys else []):
        spans[inputs.journeys[number].depot_id] += [] if number in shared else [span]
    for group in groups:
        spans[inputs.journeys[group.members[0]].depot_id].append(_out_s(group))
    return {
        depot_id: max(
            (sum(_within(start, number) for number in out) for start, _ in out), default=0
        )
        for depot_id, out in sorted(spans.items(), key=lambda item: item[0] or "")
    }


def _hash(inputs: CarpoolInputs, ways: TravelMatrices | None) -> str:
    digest = hashlib.sha256(inputs.model_dump_json().encode())
    for vehicle_type, matrix in sorted(ways.matrices.items()) if ways is not None else ():
        digest.update(vehicle_type.encode())
        digest.update(np.asarray(matrix.distance_m, dtype="<f8").tobytes())
        digest.update(np.asarray(matrix.duration_s, dtype="<f8").tobytes())
    return digest.hexdigest()


def _described(
    inputs: CarpoolInputs, search: Search, inputs_hash: str, packing: _Packing
) -> CarpoolPlan:
    before, after = _peaks(inputs, ()), _peaks(inputs, packing.groups)
    freed = sum(before.values()) - sum(after.values())
    objective_ore = sum(_worth_ore(group, inputs.costs) for group in packing.groups)
    objective_ore += freed * round(inputs.rules.freed_vehicle_dkk * ORE_PER_DKK)
    bound_ore = objective_ore
    if packing.status is not SolverStatus.OPTIMAL:
        bound_ore = max(objective_ore, packing.bound_ore)
    saved_m = sum(group.saved_m for group in packing.groups)
    riding = sum(len(group.members) - 1 for group in packing.groups)
    taking = len(packing.groups)
    return CarpoolPlan(
        municipality_id=inputs.municipality_id,
        inputs_hash=inputs_hash,
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status=packing.status,
        objective_dkk=objective_ore / ORE_PER_DKK,
        bound_dkk=bound_ore / ORE_PER_DKK,
        bound_by=packing.bound_by,
        timezone=inputs.timezone,
        gap=(bound_ore - objective_ore) / bound_ore if bound_ore else 0.0,
        groups=tuple(_group(inputs, group) for group in packing.groups),
        saved_m=saved_m,
        saved_co2e_kg=sum(group.saved_co2e_kg for group in packing.groups),
        saved_dkk=sum(group.saved_dkk for group in packing.groups),
        vehicles_before=sum(before.values()),
        vehicles_after=sum(after.values()),
        peaks=tuple(
            DepotPeak(depot_id=number, before=count, after=after.get(number, 0))
            for number, count in before.items()
        ),
        explanation=(
            f"{riding} of {len(inputs.journeys)} journeys {'rides' if riding == 1 else 'ride'} "
            f"along in {taking} vehicle{'' if taking == 1 else 's'}: {saved_m / 1000:,.1f} km "
            f"less. At most {sum(before.values())} vehicles were out at once, depot by depot; "
            f"shared, {sum(after.values())}."
        ),
    )


def _group(inputs: CarpoolInputs, group: CandidateGroup) -> CarpoolGroup:
    epoch = epoch_of(inputs)
    members = tuple(_member(inputs, group, place, epoch) for place in range(len(group.members)))
    journeys = [inputs.journeys[member] for member in group.members]
    taken = sum(journey.seats_taken for journey in journeys)
    return CarpoolGroup(
        vehicle_id=journeys[0].vehicle_id,
        members=members,
        seats_taken=taken,
        detour_m=group.detour_m,
        saved_m=group.saved_m,
        saved_co2e_kg=group.saved_co2e_kg,
        saved_dkk=group.saved_dkk,
        out_from=epoch + timedelta(seconds=_out_s(group)[0]),
        out_until=epoch + timedelta(seconds=_out_s(group)[1]),
        reason=_reason(inputs, group, members, taken),
    )


def _member(
    inputs: CarpoolInputs, group: CandidateGroup, place: int, epoch: datetime
) -> CarpoolMember:
    journey = inputs.journeys[group.members[place]]

    def later_s(at: datetime, told_s: float) -> float:
        return told_s - (at - epoch).total_seconds()

    legs = legs_of(journey)
    return CarpoolMember(
        journey_id=journey.journey_id,
        department=journey.department,
        drives=place == 0,
        leaves_later_s=later_s(legs[0][2], group.ways[0].leaves_s[place]),
        arrives_later_s=later_s(legs[0][3], group.ways[0].arrives_s[place]),
        returns_later_s=(
            later_s(legs[1][3], group.ways[1].arrives_s[place]) if len(legs) > 1 else None
        ),
    )


def _reason(
    inputs: CarpoolInputs, group: CandidateGroup, members: Sequence[CarpoolMember], taken: int
) -> str:
    """Say who rides with whom, what it asks of people, within which limits, and what it saves."""
    rules = inputs.rules
    driver = inputs.journeys[group.members[0]]
    riders = [inputs.journeys[member] for member in group.members[1:]]
    who = ", ".join(f"{local_part(rider.vehicle_id)} ({rider.department})" for rider in riders)
    epoch = epoch_of(inputs)
    legs = [legs_of(inputs.journeys[member]) for member in group.members]
    shift_s = max(
        abs(leaves_s - (legs[place][number][2] - epoch).total_seconds())
        for number, way in enumerate(group.ways)
        for place, leaves_s in enumerate(way.leaves_s)
    )
    late_s = max(max(member.arrives_later_s, member.returns_later_s or 0.0) for member in members)
    return (
        f"{local_part(driver.vehicle_id)} ({driver.department}) takes along {who}: "
        f"{group.detour_m / 1000:.1f} km of detour (at most {rules.max_detour_m / 1000:.1f} km "
        f"each way), nobody leaves more than {shift_s / 60:.0f} min from the own time or arrives "
        f"more than {max(0.0, late_s) / 60:.0f} min later (at most "
        f"{rules.max_shift_s / 60:.0f} min). {taken} of {driver.seats} seats are taken. It "
        f"saves {group.saved_m / 1000:.1f} km, "
        f"{group.saved_co2e_kg:.1f} kg CO2e and {group.saved_dkk:.0f} DKK of energy."
    )
