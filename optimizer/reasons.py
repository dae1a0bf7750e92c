"""A placement in words: which vehicle moves where and why, what the plan achieves or what lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.costs import ORE_PER_DKK
from optimizer.demand import Level, class_of
from optimizer.inputs import MOTOR, Problem, bill, needs_charger, vehicles_at
from optimizer.placement import Solution, missing_places
from schemas.fleet import VehicleType
from schemas.plan import PlanMove, SolverStatus


def moves(problem: Problem, placement: Mapping[str, str]) -> tuple[PlanMove, ...]:
    """Return who goes where and why: new homes for vehicles without one, and moves."""
    found: list[PlanMove] = []
    for vehicle_id, depot_id in sorted(placement.items()):
        home = problem.vehicles[vehicle_id].home_depot_id
        if depot_id == home:
            continue
        reason = _reason(problem, placement, vehicle_id)
        found.append(
            PlanMove(vehicle_id=vehicle_id, from_depot_id=home, to_depot_id=depot_id, reason=reason)
        )
    return tuple(found)


def _reason(problem: Problem, placement: Mapping[str, str], vehicle_id: str) -> str:
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
            f"{_lacked(gained, problem.days)} were more than the {had} {_word(vehicle_class)}s "
            f"at {name} could serve; the plan has {gets}."
        )
    if origin is not None:
        sentences += _left_behind(problem, placement, vehicle_id, origin)
        price_dkk = problem.relocation_ore(vehicle_id, to) / ORE_PER_DKK
        sentences.append(f"The move costs {price_dkk:,.0f} DKK.")
    elif not gained:
        sentences.append(f"{name} has room for it.")
    return " ".join(sentences)


def _left_behind(
    problem: Problem, placement: Mapping[str, str], vehicle_id: str, origin: str
) -> list[str]:
    """Say what the depot that a vehicle leaves had too many of, and what it loses."""
    depot, vehicle_class = problem.depots[origin], class_of(problem.vehicles[vehicle_id])
    now = problem.as_it_stands()
    sentences: list[str] = []
    standing = [one for one, depot_id in now.items() if depot_id == origin]
    motor = sum(1 for one in standing if class_of(problem.vehicles[one]) in MOTOR)
    if vehicle_class in MOTOR and motor > depot.capacity:
        sentences.append(f"{depot.name} has {depot.capacity} places for {motor} vehicles.")
    electric = sum(1 for one in standing if needs_charger(problem.vehicles[one]))
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


def _lacked(levels: Sequence[Level], days: int) -> str:
    """Return how many round trips the levels hold, on how many days, and which half of the day."""
    trips = sum(level.round_trips for level in levels)
    on = len(frozenset[Any]().union(*(level.days for level in levels)))
    early = sum(level.before_noon for level in levels)
    late = sum(level.outings for level in levels) - early
    half = "as many before noon as after"
    if early != late:
        half = "mostly before noon" if early > late else "mostly after noon"
    return f"{trips} round {'trip' if trips == 1 else 'trips'} on {on} of {days} days ({half})"


def _word(vehicle_class: VehicleType) -> str:
    return vehicle_class.value.replace("_", "-")


def explanation(problem: Problem, solution: Solution) -> str:
    """Say what the plan achieves, or what is missing where."""
    now = problem.as_it_stands()
    if solution.status is SolverStatus.INFEASIBLE:
        return _shortage(problem)
    if solution.status is SolverStatus.UNKNOWN:
        return (
            "No placement was found within the time limit; remedy: raise "
            "FLEETPULSE_PLANNER_TIME_LIMIT_S. Every vehicle is left where it stands."
        )
    before, after = bill(problem, now), bill(problem, solution.placement)
    moved = sum(1 for one, origin in now.items() if solution.placement[one] != origin)
    parts = [
        f"{moved} of {len(problem.vehicles)} vehicles move.",
        (
            f"Of the round trips on {problem.days} observed days, "
            f"{before.unserved_round_trips} were more than their depot's own vehicles can serve, "
            f"{after.unserved_round_trips} with the plan."
        ),
        (
            f"Scaled from {problem.days} to {problem.horizon_days} days, {problem.scale:.2f} "
            f"times, that is {before.total_ore / ORE_PER_DKK:,.0f} DKK against "
            f"{after.total_ore / ORE_PER_DKK:,.0f} DKK, of which "
            f"{after.relocation_ore / ORE_PER_DKK:,.0f} DKK for moving."
        ),
    ]
    if before.missing_chargers or after.missing_chargers:
        parts.append(
            f"Electric vehicles without a charger: {before.missing_chargers} as it stands, "
            f"{after.missing_chargers} with the plan; priced, not forbidden."
        )
    crowded = _crowded(problem)
    if crowded:
        parts.append(f"More stand there now than there are places: {crowded}.")
    return " ".join(parts)


def _shortage(problem: Problem) -> str:
    if not problem.depots:
        return f"No depot is entered for {len(problem.vehicles)} vehicles; remedy: enter depots."
    places = ", ".join(f"{one.name} {one.capacity}" for one in problem.depots.values())
    crowded = _crowded(problem)
    return (
        f"{missing_places(problem)} parking places are missing: the depots have {places}. "
        + (f"More stand there now than there are places: {crowded}. " if crowded else "")
        + "Remedy: enter more places or fewer vehicles. Every vehicle is left where it stands."
    )


def _crowded(problem: Problem) -> str:
    """Return the depots where more motor vehicles stand than there are places, with numbers."""
    there = vehicles_at(problem, problem.as_it_stands())
    motor = {
        depot_id: sum(there.get((depot_id, one), 0) for one in MOTOR) for depot_id in problem.depots
    }
    return ", ".join(
        f"{depot.name} ({motor[depot_id]} for {depot.capacity})"
        for depot_id, depot in problem.depots.items()
        if motor[depot_id] > depot.capacity
    )
