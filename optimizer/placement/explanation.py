"""A placement in words: which vehicle moves where and why, what it achieves, what is missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from optimizer.costs import ORE_PER_DKK
from optimizer.demand import MarginalVehicle, class_of
from optimizer.placement.cost_breakdown import placement_cost, vehicles_at
from optimizer.placement.infeasibility import crowded, plural, shortage, word
from optimizer.placement.lending import Lending
from optimizer.placement.problem import PlacementProblem, needs_charger
from optimizer.placement.solve import Solution
from schemas.fleet.master_data import VehicleType
from schemas.fleet.policy import Fetching
from schemas.fleet.vehicle_type import MOTOR
from schemas.plans.outcome import WEEK_DAYS
from schemas.plans.plan import PlanLending, PlanMove, SolverStatus

_MAX_NAMED: Final = 5
_ROUNDING: Final = 1e-6
_MEANS: Final = {Fetching.ON_FOOT: "on foot", Fetching.BY_BICYCLE: "by bicycle"}


def moves(
    problem: PlacementProblem, placement: Mapping[str, str], lent: Sequence[Lending] = ()
) -> tuple[PlanMove, ...]:
    """Return who goes where and why: new homes for vehicles without one, and moves."""
    plan_moves: list[PlanMove] = []
    for vehicle_id, depot_id in sorted(placement.items()):
        home = problem.vehicles[vehicle_id].home_depot_id
        if depot_id == home:
            continue
        reason = _reason(problem, placement, lent, vehicle_id)
        plan_moves.append(
            PlanMove(vehicle_id=vehicle_id, from_depot_id=home, to_depot_id=depot_id, reason=reason)
        )
    return tuple(plan_moves)


def lendings(
    problem: PlacementProblem, placement: Mapping[str, str], lent: Sequence[Lending]
) -> tuple[PlanLending, ...]:
    """Return who fetches whose vehicles and why, by borrower, lender and class."""
    together: defaultdict[tuple[str, str, VehicleType], list[Lending]] = defaultdict(list)
    for lending in lent:
        together[lending.borrower_id, lending.lender_id, lending.vehicle_class].append(lending)
    there = vehicles_at(problem, placement)
    plan_lendings: list[PlanLending] = []
    for (borrower_id, lender_id, kind), of_one in sorted(together.items()):
        has, lends = there.get((borrower_id, kind), 0), there[lender_id, kind]
        round_trips = sum(problem.lendings[lending].round_trips for lending in of_one)
        saves_dkk = (
            sum(problem.saved_ore(lending, problem.lendings[lending]) for lending in of_one)
            / ORE_PER_DKK
        )
        way_min = problem.ways_min[borrower_id, lender_id]
        plan_lendings.append(
            PlanLending(
                vehicle_class=kind,
                borrower_depot_id=borrower_id,
                lender_depot_id=lender_id,
                way_min=way_min,
                vehicles=len(of_one),
                round_trips=round_trips,
                saves_dkk=saves_dkk,
                reason=(
                    f"{plural(round_trips, 'round trip')} on {problem.days} observed days were "
                    f"more than the {plural(has, word(kind))} at "
                    f"{problem.depots[borrower_id].name} can serve, while one of the {lends} at "
                    f"{problem.depots[lender_id].name} was in, {way_min:.0f} minutes "
                    f"{_MEANS[problem.policy.fetching]}. Fetching it saves {saves_dkk:,.0f} DKK."
                ),
            )
        )
    return tuple(plan_lendings)


def _reason(
    problem: PlacementProblem,
    placement: Mapping[str, str],
    lent: Sequence[Lending],
    vehicle_id: str,
) -> str:
    """Say what the vehicle is wanted for, what is lost where it comes from, and the price."""
    vehicle_class = class_of(problem.vehicles[vehicle_id])
    origin, to = problem.stands_at[vehicle_id], placement[vehicle_id]
    before = vehicles_at(problem, problem.as_it_stands())
    after = vehicles_at(problem, placement)
    sentences: list[str] = []
    if problem.vehicles[vehicle_id].home_depot_id is None:
        left = 0 if origin is None else problem.departures.get((vehicle_id, origin), 0)
        sentences.append(
            "It has no home depot and has left none."
            if origin is None
            else f"It has no home depot; it left {problem.depots[origin].name} most, {left} times."
        )
    if to == origin:
        return " ".join([*sentences, "It stays there."])
    had, gets = before.get((to, vehicle_class), 0), after[to, vehicle_class]
    name = problem.depots[to].name
    gained = problem.levels.get((to, vehicle_class), ())[had:gets]
    if gained:
        sentences.append(
            f"{_lacked(gained, problem.days)} were more than the "
            f"{plural(had, word(vehicle_class))} at {name} could serve; the plan has {gets}."
        )
    if origin is not None:
        sentences += _left_behind(problem, placement, vehicle_id, origin)
        sentences += _lent_instead(problem, lent, origin, vehicle_class)
        price_dkk = problem.relocation_ore(vehicle_id, to) / ORE_PER_DKK
        sentences.append(f"The move costs {price_dkk:,.0f} DKK.")
    elif not gained:
        sentences.append(f"{name} has room for it.")
    return " ".join(sentences)


def _left_behind(
    problem: PlacementProblem, placement: Mapping[str, str], vehicle_id: str, origin: str
) -> list[str]:
    """Say what the depot that a vehicle leaves had too many of, and what it loses."""
    depot, vehicle_class = problem.depots[origin], class_of(problem.vehicles[vehicle_id])
    now = problem.as_it_stands()
    sentences: list[str] = []
    standing = [vehicle_id for vehicle_id, depot_id in now.items() if depot_id == origin]
    motor = sum(1 for vehicle_id in standing if class_of(problem.vehicles[vehicle_id]) in MOTOR)
    if vehicle_class in MOTOR and motor > depot.capacity:
        sentences.append(f"{depot.name} has {depot.capacity} places for {motor} vehicles.")
    electric = sum(1 for vehicle_id in standing if needs_charger(problem.vehicles[vehicle_id]))
    if needs_charger(problem.vehicles[vehicle_id]) and electric > depot.charger_count:
        sentences.append(
            f"{depot.name} has {depot.charger_count} chargers for {electric} electric vehicles."
        )
    had = vehicles_at(problem, now)[origin, vehicle_class]
    keeps = vehicles_at(problem, placement).get((origin, vehicle_class), 0)
    lost = problem.levels.get((origin, vehicle_class), ())[keeps:had]
    if lost:
        sentences.append(
            f"{_lacked(lost, problem.days)} will be more than the {keeps} left at {depot.name} "
            "can serve."
        )
    elif keeps < had:
        sentences.append(f"{depot.name} has needed no more than {keeps} of its {had}.")
    else:
        sentences.append(f"Another one takes its place at {depot.name}.")
    return sentences


def _lent_instead(
    problem: PlacementProblem, lent: Sequence[Lending], depot_id: str, vehicle_class: VehicleType
) -> list[str]:
    """Say what the depot that a vehicle leaves will fetch elsewhere, and who cannot leave it."""
    sentences: list[str] = []
    fetched: Counter[str] = Counter()
    for lending in lent:
        if (lending.borrower_id, lending.vehicle_class) == (depot_id, vehicle_class):
            fetched[lending.lender_id] += problem.lendings[lending].round_trips
    if fetched:
        means = _MEANS[problem.policy.fetching]
        lenders = ", ".join(
            f"{problem.depots[lender_id].name} ({trips}; "
            f"{problem.ways_min[depot_id, lender_id]:.0f} minutes "
            f"{means})"
            for lender_id, trips in sorted(fetched.items())
        )
        trips = plural(fetched.total(), "round trip")
        sentences.append(f"For {trips} it fetches a {word(vehicle_class)} of {lenders}.")
    stay = sum(
        1
        for vehicle_id in problem.locked
        if problem.stands_at[vehicle_id] == depot_id
        and class_of(problem.vehicles[vehicle_id]) is vehicle_class
    )
    if stay:
        sentences.append(
            f"{plural(stay, 'other ' + word(vehicle_class))} there "
            f"{'is' if stay == 1 else 'are'} locked and cannot go instead."
        )
    return sentences


def _lacked(levels: Sequence[MarginalVehicle], days: int) -> str:
    """Return how many round trips the levels hold, on how many days, and which half of the day."""
    trips = sum(level.round_trips for level in levels)
    on = len(frozenset[Any]().union(*(level.days for level in levels)))
    early = sum(level.before_noon for level in levels)
    late = sum(level.trip_chains for level in levels) - early
    half = "as many before noon as after"
    if early != late:
        half = "mostly before noon" if early > late else "mostly after noon"
    return f"{trips} round {'trip' if trips == 1 else 'trips'} on {on} of {days} days ({half})"


def explanation(problem: PlacementProblem, solution: Solution) -> str:
    """Say what the plan achieves, or what is missing where."""
    now = problem.as_it_stands()
    if solution.status is SolverStatus.INFEASIBLE:
        return shortage(problem, solution)
    if solution.status is SolverStatus.UNKNOWN:
        return (
            "No placement was found within the time limit; remedy: raise "
            "FLEETPULSE_PLANNER_TIME_LIMIT_S. Every vehicle is left where it stands."
        )
    before = placement_cost(problem, now)
    after = placement_cost(problem, solution.placement, solution.lendings)
    parts = [
        _who_moves(problem, solution.placement),
        (
            f"Of the round trips on {problem.days} observed days, "
            f"{before.unserved_round_trips} were more than their depot's own vehicles can serve, "
            f"{after.unserved_round_trips} with the plan."
        ),
        (
            f"Scaled from {_observed(problem)} to {problem.horizon_days} days, "
            f"{problem.scale:.2f} times, that is {before.total_ore / ORE_PER_DKK:,.0f} DKK against "
            f"{after.total_ore / ORE_PER_DKK:,.0f} DKK, of which "
            f"{after.relocation_ore / ORE_PER_DKK:,.0f} DKK for moving."
        ),
    ]
    if problem.policy.forecast:
        parts.append(
            f"Demand is forecast for {len(problem.growth)} of {len(problem.levels)} depots and "
            "classes, where that beats the same hour last week; elsewhere it stays what it was."
        )
    if before.missing_chargers or after.missing_chargers:
        parts.append(
            f"Electric vehicles without a charger: {before.missing_chargers} now, "
            f"{after.missing_chargers} with the plan; this adds a cost but is allowed."
        )
    if solution.lendings:
        parts.append(
            f"Neighbouring depots lend for {plural(after.lent_round_trips, 'round trip')} more."
        )
    if problem.policy.served_share is not None:
        parts.append(
            f"At least {problem.policy.served_share:.1%} of each class's round trips are served, "
            "as was asked."
        )
    if problem.locked:
        parts.append(_who_stays(problem))
    now_crowded = crowded(problem)
    if now_crowded:
        parts.append(f"More stand there now than there are places: {now_crowded}.")
    return " ".join(parts)


def _who_moves(problem: PlacementProblem, placement: Mapping[str, str]) -> str:
    """Count who leaves its home depot, and apart from them who gets one for the first time."""
    homes = {vehicle_id: vehicle.home_depot_id for vehicle_id, vehicle in problem.vehicles.items()}
    moved = sum(
        1
        for vehicle_id, home in homes.items()
        if home is not None and placement[vehicle_id] != home
    )
    text = f"{moved} of {len(homes)} vehicles move."
    new = [vehicle_id for vehicle_id, home in homes.items() if home is None]
    if not new:
        return text
    now = problem.as_it_stands()
    elsewhere = sum(
        1 for vehicle_id in new if vehicle_id in now and placement[vehicle_id] != now[vehicle_id]
    )
    return (
        f"{text} {plural(len(new), 'vehicle')} without a home depot "
        f"{'gets' if len(new) == 1 else 'get'} one, {elsewhere} of them another than left most."
    )


def _observed(problem: PlacementProblem) -> str:
    """Return what the scale counts from: first start to last end, at least a week."""
    observed_days = problem.horizon_days / problem.scale
    if observed_days <= WEEK_DAYS + _ROUNDING:
        return f"a week of {WEEK_DAYS} days, the least that counts as observed,"
    return f"{observed_days:.1f} observed days"


def _who_stays(problem: PlacementProblem) -> str:
    named = [
        f"{problem.vehicles[vehicle_id].name} {why}"
        for vehicle_id, why in sorted(problem.locked.items())[:_MAX_NAMED]
    ]
    more = len(problem.locked) - len(named)
    also = f"; and {more} more" if more else ""
    return f"{plural(len(problem.locked), 'vehicle')} may not move: {'; '.join(named)}{also}."
