"""Assignment: which round trip takes which vehicle over the whole horizon, at the least cost.

Round trips return to their depot, so each depot and class is a problem of its own. Each has an
answer at once, first come, first served; then one after the other is improved as far as the effort
goes (`optimizer.assignment.anytime`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.assignment.anytime import Bounded, choose, first_answer
from optimizer.assignment.explanation import explanation, lock_conflicts, reason
from optimizer.assignment.greedy import SubproblemAnswer
from optimizer.assignment.repositioning import fewest_vehicles, in_words
from optimizer.assignment.subproblem import Subproblem, subproblems_of
from optimizer.costs import ORE_PER_DKK
from optimizer.search import ProgressCallback, Search
from optimizer.work_budget import WorkBudget
from schemas.plans.assignment import (
    AssignmentInputs,
    AssignmentPlan,
    DepotUse,
    UnservedRoundTrip,
)
from schemas.plans.plan import SolverStatus


@dataclass(frozen=True, slots=True)
class _Solved:
    """A subproblem with the vehicle of each of its round trips, and the costs in øre."""

    subproblem: Subproblem
    vehicles: tuple[str | None, ...]
    used: frozenset[str]
    objective_ore: int
    bound_ore: int


def inputs_hash(inputs: AssignmentInputs) -> str:
    """Return the SHA-256, in hexadecimal, of the sorted inputs, the cost constants among them."""
    return hashlib.sha256(inputs.model_dump_json().encode()).hexdigest()


def assign(
    inputs: AssignmentInputs, search: Search, progress: ProgressCallback | None = None
) -> AssignmentPlan:
    """Return which round trip takes which vehicle, with its price and a proven bound.

    The search is deterministic and its limit deterministic time; the seed orders nothing here and
    is kept with the plan. Reading the inputs and the first answer are not limited. `progress` is
    called with the first answer, and after each better one and each depot and class.
    """
    conflicts = lock_conflicts(inputs)
    if conflicts:
        return _plan(inputs, search, (), " ".join(conflicts))
    effort = WorkBudget(search.time_limit_s)
    subproblems = subproblems_of(inputs)
    answers = [first_answer(subproblem) for subproblem in subproblems]
    report = _Progress(subproblems, answers, progress)
    report.tell()
    left = sum(len(subproblem.trips) for subproblem in subproblems)
    for number, subproblem in enumerate(subproblems):
        trips = len(subproblem.trips)
        share = trips / left if left else 0.0
        mine = WorkBudget(max(1e-9, (effort.limit_s - effort.spent_s) * share))
        answers[number] = choose(subproblem, answers[number], mine, report.better)
        report.through(number)
        effort.spent_s += mine.spent_s
        left -= trips
    return _plan(inputs, search, tuple(map(_solved, subproblems, answers)), "")


class _Progress:
    """Reports the share of round trips whose subproblem is done, and the best cost."""

    def __init__(
        self,
        subproblems: Sequence[Subproblem],
        bounds: Sequence[Bounded],
        progress: ProgressCallback | None,
    ) -> None:
        self._progress, self._known = progress, bounds
        self._trips = [len(subproblem.trips) for subproblem in subproblems]
        self._base_ore = sum(
            int(subproblem.prices_ore.sum()) + subproblem.locked_ore for subproblem in subproblems
        )
        self._values_ore = [bounded.answer.value_ore for bounded in bounds]
        self._through = 0

    def tell(self) -> None:
        if self._progress is None:
            return
        total = sum(self._trips)
        best_dkk = (self._base_ore - sum(self._values_ore)) / ORE_PER_DKK
        self._progress(
            sum(self._trips[: self._through]) / total if total else 1.0,
            f"{best_dkk:,.2f} DKK at best",
        )

    def better(self, answer: SubproblemAnswer) -> None:
        self._values_ore[self._through] = answer.value_ore
        self.tell()

    def through(self, number: int) -> None:
        self._values_ore[number] = self._known[number].answer.value_ore
        self._through = number + 1
        self.tell()


def _solved(subproblem: Subproblem, bounded: Bounded) -> _Solved:
    base = int(subproblem.prices_ore.sum()) + subproblem.locked_ore
    answer = bounded.answer
    used = {
        *subproblem.locks.values(),
        *(vehicle for vehicle in answer.vehicles if vehicle is not None),
    }
    return _Solved(
        subproblem,
        answer.vehicles,
        frozenset(used),
        base - answer.value_ore,
        base - bounded.limit_ore,
    )


def _plan(
    inputs: AssignmentInputs, search: Search, solved: tuple[_Solved, ...], conflict: str
) -> AssignmentPlan:
    objective = sum(answer.objective_ore for answer in solved)
    bound = sum(answer.bound_ore for answer in solved)
    assignment: dict[str, str] = {}
    unserved: list[UnservedRoundTrip] = []
    depots: list[DepotUse] = []
    there = {answer.subproblem.key: len(answer.subproblem.pools) for answer in solved}
    fleet = {
        key: [
            vehicle
            for vehicle in inputs.vehicles
            if (vehicle.depot_id, vehicle.vehicle_class) == key
        ]
        for key in there
    }
    for answer in solved:
        subproblem = answer.subproblem
        assignment |= subproblem.locks
        missing = [number for number, vehicle in enumerate(answer.vehicles) if vehicle is None]
        for number in missing:
            trip = subproblem.trips[number]
            unserved.append(
                UnservedRoundTrip(
                    round_trip_id=trip.round_trip_id,
                    price_dkk=int(subproblem.prices_ore[number]) / ORE_PER_DKK,
                    reason=reason(inputs, trip, fleet[subproblem.key], subproblem, number),
                )
            )
        assignment |= {
            trip.round_trip_id: vehicle
            for trip, vehicle in zip(subproblem.trips, answer.vehicles, strict=True)
            if vehicle is not None
        }
        depots.append(
            DepotUse(
                depot_id=subproblem.key[0],
                vehicle_class=subproblem.key[1],
                vehicles=len(fleet[subproblem.key]),
                used=len(answer.used),
                peak_overlap=subproblem.peak,
                unserved=len(missing),
            )
        )
    status = SolverStatus.OPTIMAL if objective == bound else SolverStatus.FEASIBLE
    gap = (objective - bound) / objective if objective else 0.0
    if conflict:
        status, gap = SolverStatus.INFEASIBLE, 1.0
    moved = () if conflict else fewest_vehicles(inputs, depots)
    text = explanation(inputs, tuple(depots), assignment)
    return AssignmentPlan(
        municipality_id=inputs.municipality_id,
        inputs_hash=inputs_hash(inputs),
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status=status,
        objective_dkk=objective / ORE_PER_DKK,
        bound_dkk=bound / ORE_PER_DKK,
        gap=gap,
        vehicles_used=sum(len(answer.used) for answer in solved),
        assignment=dict(sorted(assignment.items())),
        unserved=tuple(sorted(unserved, key=lambda answer: answer.round_trip_id)),
        depots=tuple(depots),
        repositioning=moved,
        explanation=conflict or f"{text} {in_words(moved)}".strip(),
    )
