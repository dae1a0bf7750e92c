"""Fit a plan on the first weeks, replay it, and two others, on those that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.backtest.cost_breakdown import Yard, replay_cost
from optimizer.backtest.explanation import in_words
from optimizer.backtest.greedy import Greedy
from optimizer.backtest.replay import Request, nights_of, replay, requests_of
from optimizer.backtest.split import Split, TooLittleDataError, split
from optimizer.placement.problem import problem_of
from optimizer.placement.solve import Solution, solve
from optimizer.search import Search
from optimizer.work_budget import WorkBudget
from schemas.plans.backtest import BackTest, Contender, ContenderName
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import SolverStatus

SOLVER_SHARE: Final = 0.75
"""Of the time limit; the rest is the greedy rule's."""

_DIGITS: Final = 6
"""Of DKK and kg: what a sum of floats knows, and no more."""


@dataclass(frozen=True, slots=True)
class BackTestFinding:
    """A back-test, or why there is none; in words either way."""

    backtest: BackTest | None
    explanation: str


def back_test(inputs: PlacementInputs, search: Search) -> BackTestFinding:
    """Fit on the first part of the inputs, replay on the rest.

    The same inputs, seed and limit give the same back-test.
    Raises what `problem_of` and `solve` raise.
    """
    try:
        parts = split(inputs)
    except TooLittleDataError as error:
        return BackTestFinding(None, f"No back-test: {error}")
    fitted = fit(parts, search)
    if fitted.solution.status in {SolverStatus.INFEASIBLE, SolverStatus.UNKNOWN}:
        return BackTestFinding(
            None,
            f"No back-test: on the first {parts.fitted_days} days the solver's answer is "
            f"{fitted.solution.status.value}, so there is no placement to replay.",
        )
    back_test = _result(parts, fitted.placements)
    proven = fitted.solution.status is SolverStatus.OPTIMAL
    unproven = 0.0 if proven else fitted.solution.gap
    words = in_words(back_test, unproven=unproven, greedy_stopped=fitted.greedy_stopped)
    if fitted.solution.lendings:
        words += (
            " The replay lends nothing between depots and so errs against the plan, which does."
        )
    return BackTestFinding(back_test, words)


@dataclass(frozen=True, slots=True)
class Fitted:
    """Where each contender has the vehicles after the first weeks, and how sure they are."""

    solution: Solution
    placements: Mapping[ContenderName, Mapping[str, str]]
    greedy_stopped: bool


def fit(parts: Split, search: Search) -> Fitted:
    """Let the contenders place the vehicles by what the first weeks tell.

    Raises what `problem_of` and `solve` raise, and `SearchCancelledError`.
    """
    problem = problem_of(parts.fitted)
    stood_at = problem.as_it_stands()
    solution = solve(problem, replace(search, time_limit_s=search.time_limit_s * SOLVER_SHARE))
    requests = requests_of(parts.fitted.round_trips, parts.fitted.all_vehicles, parts.fitted.costs)
    yard = yard_of(parts.fitted, stood_at, parts.fitted_days)
    effort = WorkBudget(search.time_limit_s * (1 - SOLVER_SHARE))
    greedy = Greedy(requests, yard, effort, search.cancellation.check)
    placements = {
        ContenderName.AS_IT_WAS: stood_at,
        ContenderName.GREEDY: greedy.placement(),
        ContenderName.PLAN: solution.placement,
    }
    return Fitted(solution, placements, greedy.stopped)


def yard_of(inputs: PlacementInputs, stood_at: Mapping[str, str], days: int) -> Yard:
    """Return depots and vehicles for a replay of so many days."""
    return Yard(
        depots={depot.depot_id: depot for depot in inputs.depots},
        vehicles={vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles},
        stood_at=stood_at,
        zone=ZoneInfo(inputs.timezone),
        days=days,
        horizon_days=inputs.horizon_days,
        costs=inputs.costs,
    )


def _result(parts: Split, placements: Mapping[ContenderName, Mapping[str, str]]) -> BackTest:
    requests = requests_of(parts.replayed, parts.fitted.all_vehicles, parts.fitted.costs)
    yard = yard_of(parts.fitted, placements[ContenderName.AS_IT_WAS], parts.days_replayed)
    contenders = {
        name: contender(name, requests, yard, placement) for name, placement in placements.items()
    }
    was = contenders[ContenderName.AS_IT_WAS].cost_dkk

    def ratio(name: ContenderName) -> float | None:
        return round(contenders[name].cost_dkk / was, _DIGITS) if was > 0 else None

    return BackTest(
        fitted_from=min(round_trip.started_at for round_trip in parts.fitted.round_trips),
        fitted_to=parts.cut_at,
        replayed_to=parts.replayed_to,
        weeks_fitted=parts.fitted_days / 7,
        weeks_replayed=parts.weeks_replayed,
        round_trips_fitted=len(parts.fitted.round_trips),
        contenders=tuple(contenders.values()),
        cost_ratio=ratio(ContenderName.PLAN),
        greedy_cost_ratio=ratio(ContenderName.GREEDY),
    )


def contender(
    name: ContenderName, requests: Sequence[Request], yard: Yard, placement: Mapping[str, str]
) -> Contender:
    """Replay requests against a placement and price what happened."""
    replayed = replay(
        requests,
        yard.vehicles.values(),
        placement,
        nights_of(requests, yard.zone),
        yard.costs,
    )
    billed = replay_cost(replayed, yard)
    costs = {
        "unserved_dkk": round(billed.unserved_dkk, _DIGITS),
        "energy_dkk": round(billed.energy_dkk, _DIGITS),
        "fetching_dkk": round(billed.fetching_dkk, _DIGITS),
        "co2e_dkk": round(billed.co2e_dkk, _DIGITS),
        "relocation_dkk": round(yard.relocation_dkk(placement), _DIGITS),
        "charger_dkk": round(yard.charger_dkk(placement), _DIGITS),
    }
    count, served = replayed.round_trips, replayed.served_round_trips
    return Contender(
        name=name,
        moves=yard.moves(placement),
        round_trips=count,
        served_round_trips=served,
        served_share=served / count if count else 1.0,
        cost_dkk=round(sum(costs.values()), _DIGITS),
        co2e_kg=round(billed.co2e_kg, _DIGITS),
        **costs,
    )
