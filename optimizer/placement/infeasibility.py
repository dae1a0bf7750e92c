"""Why there is no plan, in words: which parking places or vehicles are missing, where and when."""

from __future__ import annotations

from collections import Counter
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.demand import MarginalVehicle, class_of
from optimizer.placement.cost_breakdown import vehicles_at
from optimizer.placement.problem import PlacementProblem
from optimizer.placement.solve import Nearest, Solution, locked_beyond, missing_places
from schemas.fleet.master_data import VehicleType
from schemas.fleet.vehicle_type import MOTOR

_MAX_NAMED: Final = 5


def word(vehicle_class: VehicleType) -> str:
    """Return the class as it stands in a sentence."""
    return vehicle_class.value.replace("_", "-")


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shortage(problem: PlacementProblem, solution: Solution) -> str:
    """Say what an infeasible problem lacks, and what to do about it."""
    if not problem.depots:
        return f"No depot is entered for {len(problem.vehicles)} vehicles; remedy: enter depots."
    if missing_places(problem):
        return _too_few_places(problem)
    if locked_beyond(problem):
        return _too_many_locked(problem)
    return _share_out_of_reach(problem, solution.nearest)


def crowded(problem: PlacementProblem) -> str:
    """Return the depots where more motor vehicles stand than there are places, with numbers."""
    there = vehicles_at(problem, problem.as_it_stands())
    motor = {
        depot_id: sum(there.get((depot_id, vehicle_type), 0) for vehicle_type in MOTOR)
        for depot_id in problem.depots
    }
    return ", ".join(
        f"{depot.name} ({motor[depot_id]} for {depot.capacity})"
        for depot_id, depot in problem.depots.items()
        if motor[depot_id] > depot.capacity
    )


def _too_few_places(problem: PlacementProblem) -> str:
    places = ", ".join(f"{depot.name} {depot.capacity}" for depot in problem.depots.values())
    now_crowded = crowded(problem)
    return (
        f"{missing_places(problem)} parking places are missing: the depots have {places}. "
        + (f"More stand there now than there are places: {now_crowded}. " if now_crowded else "")
        + "Remedy: enter more places or fewer vehicles. Every vehicle is left where it stands."
    )


def _too_many_locked(problem: PlacementProblem) -> str:
    sentences: list[str] = []
    for depot_id, count in locked_beyond(problem).items():
        depot = problem.depots[depot_id]
        who = [
            f"{problem.vehicles[vehicle_id].name} {why}"
            for vehicle_id, why in sorted(problem.locked.items())
            if problem.stands_at[vehicle_id] == depot_id
            and class_of(problem.vehicles[vehicle_id]) in MOTOR
        ]
        more = f"; and {count - _MAX_NAMED} more" if count > _MAX_NAMED else ""
        sentences.append(
            f"{plural(count - depot.capacity, 'parking place')} missing at {depot.name}: it has "
            f"{depot.capacity} for {count} vehicles that may not leave it "
            f"({'; '.join(who[:_MAX_NAMED])}{more})."
        )
    sentences.append(
        "Remedy: enter more places, or end a lock. Every vehicle is left where it stands."
    )
    return " ".join(sentences)


def _share_out_of_reach(problem: PlacementProblem, nearest: Nearest | None) -> str:
    share = problem.policy.served_share
    if share is None:
        raise ValueError("a problem with enough places, and no share to reach, has a placement")
    wanted = f"{share:.1%} of each class's round trips cannot be served."
    remedy = (
        "Remedy: more vehicles there, longer ways for lending (lending_within_min of the "
        "municipality's planning, or FLEETPULSE_PLANNER_LENDING_WITHIN_MIN) or a lower share "
        "(served_share, or FLEETPULSE_PLANNER_SERVED_SHARE). Every vehicle is left where it stands."
    )
    if nearest is None:
        return f"{wanted} Where vehicles lack was not found within the time limit. {remedy}"
    sentences = [
        _class_short(problem, nearest, kind, may_lack)
        for kind, may_lack in sorted(problem.may_lack().items())
    ]
    return " ".join([wanted, *filter(None, sentences), remedy])


def _class_short(
    problem: PlacementProblem, nearest: Nearest, kind: VehicleType, may_lack: int
) -> str:
    """Say how many of a class's round trips are lost, and which further vehicles would take them.

    Vehicles are added one by one where the next one takes most, until the share is reached.
    """
    there = vehicles_at(problem, nearest.placement)
    lent: Counter[tuple[str, int]] = Counter()
    for lending in nearest.lendings:
        if lending.vehicle_class is kind:
            lent[lending.borrower_id, lending.borrower_level] = problem.lendings[
                lending
            ].round_trips
    left = {
        depot_id: [
            (level.round_trips - lent[depot_id, number], level)
            for number, level in enumerate(levels, start=1)
            if number > there.get((depot_id, kind), 0)
        ]
        for (depot_id, vehicle_type), levels in problem.levels.items()
        if vehicle_type is kind
    }
    lost = sum(trips for of_one in left.values() for trips, _ in of_one)
    if lost <= may_lack:
        return ""
    total = sum(
        level.round_trips
        for (_, vehicle_type), levels in problem.levels.items()
        for level in levels
        if vehicle_type is kind
    )
    added: dict[str, list[MarginalVehicle]] = {}
    remaining = lost
    while remaining > may_lack:
        depot_id = max(
            left,
            key=lambda depot_id: (left[depot_id][0][0] if left[depot_id] else -1, depot_id),
        )
        trips, level = left[depot_id].pop(0)
        remaining -= trips
        added.setdefault(depot_id, []).append(level)
    return (
        f"Of {plural(total, 'round trip')} by {word(kind)} {lost} find no vehicle in the best "
        f"placement found, {may_lack} may. "
        f"{plural(sum(map(len, added.values())), word(kind))} missing: "
        f"{_where(problem, added)}."
    )


def _where(problem: PlacementProblem, added: dict[str, list[MarginalVehicle]]) -> str:
    most_first = sorted(added, key=lambda depot_id: (-len(added[depot_id]), depot_id))
    named = [
        f"{len(added[depot_id])} at {_name(problem, depot_id)} ({_hour(problem, added[depot_id])})"
        for depot_id in most_first[:_MAX_NAMED]
    ]
    rest = most_first[_MAX_NAMED:]
    if rest:
        count = sum(len(added[depot_id]) for depot_id in rest)
        named.append(f"{count} at {plural(len(rest), 'other depot')}")
    return ", ".join(named)


def _name(problem: PlacementProblem, depot_id: str) -> str:
    return problem.depots[depot_id].name if depot_id in problem.depots else depot_id


def _hour(problem: PlacementProblem, levels: list[MarginalVehicle]) -> str:
    """Return the local hour in which most of the levels' trip chains leave."""
    zone = ZoneInfo(problem.timezone)
    hours = Counter(
        trip_chain.started_at.astimezone(zone).hour
        for level in levels
        for trip_chain in level.taken
    )
    hour, count = min(hours.items(), key=lambda vehicle_id: (-vehicle_id[1], vehicle_id[0]))
    days = frozenset[object]().union(*(level.days for level in levels))
    return (
        f"most at {hour:02d}:00 to {hour + 1:02d}:00, {count} of {hours.total()} departures, "
        f"on {len(days)} of {problem.days} days"
    )
