"""Follow-up: what an accepted plan has saved in a week, and why not what it promised.

Four placements are priced on the week's own round trips, by the cost model that made the plan:
nothing moved, the plan's, the real one by the model, and the real one as observed. What the model
cannot take from a depot's own vehicles goes unserved there; what is observed is that a vehicle of
another depot took it, and that is priced the same. It counts only at depots and of classes whose
number of vehicles is not what it was: everywhere else what is observed is what it would have been
had nothing moved. Where it is not, the model stands for that. Round trips that nobody drove because
nothing stood there are seen by neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from optimizer.costs import ORE_PER_DKK, ore, unserved_ore
from optimizer.demand import trip_chains
from optimizer.placement.cost_breakdown import PlacementCost, placement_cost, vehicles_at
from optimizer.placement.problem import PlacementProblem, problem_of
from schemas.errors import UserError
from schemas.fleet.master_data import Home
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.demand import PlacementInputs
from schemas.plans.outcome import WEEK_DAYS, PlanOutcome
from schemas.plans.plan import PlacementPlan

_Place = tuple[str, VehicleType]
"""A depot and a class of vehicles."""

_WEEK: Final = timedelta(days=WEEK_DAYS)
_EVER: Final = datetime.max.replace(tzinfo=UTC)
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


class NotFollowableError(UserError):
    """A plan does not say what is needed to follow it up."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What a plan promised for each week of its horizon, moving left out.

    By moves and by lending apart. Who fetches a neighbour's vehicle leaves from there with what is
    at home there: nothing tells it from the neighbour's own round trips, so only moves are followed
    up, and `unserved` are those that the depots' own vehicles cannot take.
    """

    saving_ore: int
    unserved: float
    lending_ore: int = 0


class _Unserved(NamedTuple):
    """What a depot's own vehicles did not or cannot take."""

    price_ore: int
    round_trips: int


def promise_of(plan: PlacementPlan) -> Promise:
    """Return what a plan promised a week. Raises `NotFollowableError` for a plan from before."""
    if plan.relocation_dkk is None or plan.stood_at is None:
        raise NotFollowableError(
            f"plan {plan.plan_id} of {plan.created_at:%Y-%m-%d} is from before plans said where "
            "vehicles stood; remedy: ask for a new one and accept that"
        )
    saved_dkk = plan.cost_before_dkk - (plan.objective_dkk - plan.relocation_dkk)
    lending_dkk = sum(lending.saves_dkk for lending in plan.lendings)
    unserved = plan.unserved_after + sum(lending.round_trips for lending in plan.lendings)
    observed = max(_WEEK, plan.demand_to - plan.demand_from)
    return Promise(
        ore((saved_dkk - lending_dkk) / plan.horizon_weeks),
        unserved * (_WEEK / observed),
        ore(lending_dkk / plan.horizon_weeks),
    )


def week_bounds(week: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a local week begins and ends; it can have an hour more or less than 168."""
    monday = datetime.combine(week, time.min, zone)
    return monday.astimezone(UTC), (monday + _WEEK).astimezone(UTC)


def whole_weeks(since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[date]:
    """Yield the Mondays of the local weeks that lie wholly between two instants."""
    local = since.astimezone(zone).date()
    week = local - timedelta(days=local.weekday())
    while True:
        began_at, ended_at = week_bounds(week, zone)
        if ended_at > until:
            return
        if began_at >= since:
            yield week
        week += _WEEK


def home_in(homes: Sequence[Home], since: datetime, until: datetime) -> str | None:
    """Return where a vehicle was at home for most of the time, None if nowhere."""
    spans: defaultdict[str, timedelta] = defaultdict(timedelta)
    for home in homes:
        began_at, ended_at = max(home.since or _ALWAYS, since), min(home.until or _EVER, until)
        if began_at < ended_at:
            spans[home.depot_id] += ended_at - began_at
    return max(spans, key=lambda span: spans[span], default=None)


def follow_up(
    plan: PlacementPlan,
    week: date,
    inputs: PlacementInputs,
    homes: Mapping[str, Sequence[Home]],
) -> PlanOutcome:
    """Return what became of a plan in a local week.

    `inputs` hold the round trips that began in that week and a horizon of seven days, `homes` where
    each vehicle was at home and when. Vehicles that the plan did not know stand where they really
    stood in every placement; those that are no more stand nowhere.
    Raises `NotFollowableError`, and `ValueError` for another horizon.
    """
    if inputs.horizon_days != WEEK_DAYS:
        raise ValueError(f"horizon of {inputs.horizon_days} days; a week has {WEEK_DAYS}")
    promise = promise_of(plan)
    problem = replace(problem_of(inputs), scale=1.0)  # the week as it was, nothing is scaled
    since, until = week_bounds(week, ZoneInfo(inputs.timezone))
    at_home = {
        vehicle: home_in(homes.get(vehicle, ()), since, until) for vehicle in problem.vehicles
    }
    real = _real(problem, at_home, plan)
    as_it_stood = _known(problem, real | (plan.stood_at or {}))
    nothing_moved_ore = _running_ore(placement_cost(problem, as_it_stood))
    planned_ore = _running_ore(placement_cost(problem, _known(problem, real | plan.placement)))
    modelled = placement_cost(problem, real)
    taken = _taken_by_others(inputs, real)
    changed = _changed(problem, as_it_stood, real)
    observed, expected = _total(taken, changed), _total(_unserved(problem, real), changed)
    wrong_ore = observed.price_ore - expected.price_ore
    not_carried_out_ore = _running_ore(modelled) - planned_ore
    demand_changed_ore = promise.saving_ore - (nothing_moved_ore - planned_ore)
    left = [move for move in plan.moves if at_home.get(move.vehicle_id) != move.to_depot_id]
    outcome = PlanOutcome(
        plan_id=plan.plan_id,
        municipality_id=plan.municipality_id,
        week=week,
        promised_ore=promise.saving_ore,
        realised_ore=nothing_moved_ore - _running_ore(modelled) - wrong_ore,
        demand_changed_ore=demand_changed_ore,
        not_carried_out_ore=not_carried_out_ore,
        model_wrong_ore=wrong_ore,
        unserved_promised=promise.unserved,
        unserved_modelled=modelled.unserved_round_trips,
        unserved_realised=_total(taken, taken.keys()).round_trips,
        moves=len(plan.moves),
        moves_carried_out=len(plan.moves) - len(left),
        explanation="",
    )
    words = _in_words(
        outcome,
        [plan_move.vehicle_id for plan_move in left],
        observed.round_trips,
        expected.round_trips,
    )
    gone = sorted(plan.placement.keys() - problem.vehicles.keys())
    if gone:
        words += f" Not in service any more: {', '.join(gone)}."
    if plan.lendings:
        words += f" {_of_lending(promise, len(plan.lendings))}"
    return outcome.model_copy(update={"explanation": words})


def _running_ore(cost: PlacementCost) -> int:
    return cost.total_ore - cost.relocation_ore


def _real(
    problem: PlacementProblem, at_home: Mapping[str, str | None], plan: PlacementPlan
) -> dict[str, str]:
    """Return who stood where: at home; without a home, where it left most, or where it stood."""
    real: dict[str, str] = {}
    for vehicle_id, home in at_home.items():
        left = {
            depot_id: problem.departures.get((vehicle_id, depot_id), 0)
            for depot_id in problem.depots
        }
        most = max(left, key=lambda cost: left[cost], default=None)
        if home is not None:
            real[vehicle_id] = home
        elif most is not None and left[most]:
            real[vehicle_id] = most
        elif vehicle_id in (plan.stood_at or {}):
            real[vehicle_id] = (plan.stood_at or {})[vehicle_id]
    return _known(problem, real)


def _known(problem: PlacementProblem, placement: Mapping[str, str]) -> dict[str, str]:
    """Return the placement of vehicles that are still there, at depots that are."""
    return {
        vehicle_id: depot_id
        for vehicle_id, depot_id in placement.items()
        if vehicle_id in problem.vehicles and depot_id in problem.depots
    }


def _changed(
    problem: PlacementProblem, before: Mapping[str, str], after: Mapping[str, str]
) -> frozenset[_Place]:
    """Return the depots and classes of which two placements have another number of vehicles."""
    then, now = vehicles_at(problem, before), vehicles_at(problem, after)
    return frozenset(
        place for place in then.keys() | now.keys() if then.get(place, 0) != now.get(place, 0)
    )


def _unserved(problem: PlacementProblem, placement: Mapping[str, str]) -> dict[_Place, _Unserved]:
    """Return what the model cannot serve with a depot's own vehicles of a class."""
    there = vehicles_at(problem, placement)
    return {
        place: _Unserved(
            sum(problem.level_ore(level) for level in of_one[there.get(place, 0) :]),
            sum(level.round_trips for level in of_one[there.get(place, 0) :]),
        )
        for place, of_one in problem.levels.items()
    }


def _taken_by_others(inputs: PlacementInputs, real: Mapping[str, str]) -> dict[_Place, _Unserved]:
    """Return what vehicles took from depots not their own, by depot and class."""
    taken: dict[_Place, _Unserved] = {}
    by_vehicle = defaultdict(list)
    for round_trip in inputs.round_trips:
        by_vehicle[round_trip.vehicle_id].append(round_trip)
    for vehicle_id, round_trips in by_vehicle.items():
        own = inputs.model_copy(update={"round_trips": tuple(round_trips)})
        for trip_chain in trip_chains(own):
            if trip_chain.depot_id != real.get(vehicle_id):
                place = trip_chain.depot_id, trip_chain.vehicle_class
                before = taken.get(place, _Unserved(0, 0))
                taken[place] = _Unserved(
                    before.price_ore + unserved_ore(trip_chain.distance_m, inputs.costs),
                    before.round_trips + trip_chain.round_trips,
                )
    return taken


def _total(by_place: Mapping[_Place, _Unserved], places: Collection[_Place]) -> _Unserved:
    of_these = [unserved for place, unserved in by_place.items() if place in places]
    return _Unserved(
        sum(unserved.price_ore for unserved in of_these),
        sum(unserved.round_trips for unserved in of_these),
    )


def _in_words(outcome: PlanOutcome, left: Sequence[str], observed: int, expected: int) -> str:
    sentences = [f"Promised {_dkk(outcome.promised_ore)}, realised {_dkk(outcome.realised_ore)}."]
    if outcome.demand_changed_ore:
        sentences.append(
            f"On this week's round trips and fleet the plan, carried out, would have saved "
            f"{_dkk(outcome.promised_ore - outcome.demand_changed_ore)}: "
            f"{_less(outcome.demand_changed_ore)}."
        )
    sentences.append(
        f"{outcome.moves_carried_out} of {outcome.moves} moves were carried out"
        + (f", not those of {', '.join(left)}" if left else "")
        + (f": {_less(outcome.not_carried_out_ore)}." if outcome.not_carried_out_ore else ".")
    )
    if outcome.model_wrong_ore:
        sentences.append(
            f"Where vehicles came or went, those of other depots took {observed} round trips, "
            f"and the model expects {expected}: {_less(outcome.model_wrong_ore)}."
        )
    return " ".join(sentences)


def _of_lending(promise: Promise, count: int) -> str:
    """Say what of the promise is not comparable with anything, and what that does to the rest."""
    subject = "its lending" if count == 1 else f"its {count} lendings"
    return (
        "Both are of moves alone. "
        f"The plan promised {_dkk(promise.lending_ore)} a week by {subject} "
        f"on top, {_dkk(promise.saving_ore + promise.lending_ore)} in all: whether that was "
        "realised cannot be seen, for a lent vehicle leaves from its own depot. What was lent "
        "counts as demand of the depot that lends, and is in what demand changed."
    )


def _dkk(amount_ore: int) -> str:
    return f"{amount_ore / ORE_PER_DKK:,.0f} DKK"


def _less(part_ore: int) -> str:
    return f"{abs(part_ore) / ORE_PER_DKK:,.0f} DKK {'less' if part_ore > 0 else 'more'}"
