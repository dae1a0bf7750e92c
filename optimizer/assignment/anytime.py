"""The answer for one subproblem: something at once, and better as long as the effort lasts.

First come, first served is the first answer. Then prices of instants
(`optimizer.assignment.time_duals`) tell how many vehicles of which pool are worth their price and
what each pool should take; flows (`optimizer.assignment.flow`) make that whole, each pool in turn
beside the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2
from typing import Final

import numpy as np

from optimizer.assignment.flow import Concave, flow_s, most_valuable
from optimizer.assignment.greedy import SubproblemAnswer, first_come_first_served, round_to_vehicles
from optimizer.assignment.subproblem import Machine, Subproblem, VehiclePool
from optimizer.assignment.time_duals import Shares, TimeDuals
from optimizer.work_budget import Ints, WorkBudget

_STEPS: Final = 400
"""In the first round; twice as many in each round after it."""

_TURNS: Final = 3
_CLOSE: Final = 1e-4
"""A round that brings the two nearer by less than this part of the limit is the last."""

_HALF: Final = 0.5
_NOBODY: Final = -1

ImprovementCallback = Callable[[SubproblemAnswer], None]


@dataclass(frozen=True, slots=True)
class Bounded:
    """An answer and what can be saved at most, in øre."""

    answer: SubproblemAnswer
    limit_ore: int


def first_answer(subproblem: Subproblem) -> Bounded:
    """Return an answer without search; as if each round trip had the vehicle that suits it best."""
    values = [pool.values_ore for pool in subproblem.pools]
    limit = int(np.max(values, axis=0).sum()) if values else 0
    return Bounded(first_come_first_served(subproblem), limit)


def choose(
    subproblem: Subproblem, bounded: Bounded, effort: WorkBudget, better: ImprovementCallback
) -> Bounded:
    """Return the best answer that the effort allows, and the least limit.

    `better` is told of each answer that is better than the one before.
    """
    if bounded.answer.value_ore >= bounded.limit_ore or effort.over:
        return bounded
    if (
        len(subproblem.pools) == 1
        and subproblem.pools[0].always_there
        and _affords_exact(subproblem, effort)
    ):
        return _exact(subproblem, subproblem.pools[0], effort)
    best, limit = bounded.answer, bounded.limit_ore
    prices = TimeDuals(subproblem)
    steps = _STEPS
    while best.value_ore < limit and not effort.over:
        before = limit - best.value_ore
        prices.improve(steps, effort)
        limit = min(limit, prices.limit_ore)
        improved = _rounded(subproblem, prices.shares, limit, effort)
        if improved.value_ore > best.value_ore:
            best = improved
            better(best)
        if before - (limit - best.value_ore) < _CLOSE * limit:
            break
        steps *= 2
    return Bounded(best, limit)


def _affords_exact(subproblem: Subproblem, effort: WorkBudget) -> bool:
    flows = 2 * log2(2 + len(subproblem.pools[0].machines))
    return flows * flow_s(len(subproblem.trips)) <= effort.limit_s - effort.spent_s


def _exact(subproblem: Subproblem, pool: VehiclePool, effort: WorkBudget) -> Bounded:
    """Return the best answer of all, for vehicles alike that are always there."""
    alone = Concave(subproblem.demand, pool.values_ore, pool.prices_ore, effort)
    chosen = alone.best()
    owner = np.where(chosen.taken, 0, _NOBODY)
    machines = (pool.machines[: chosen.vehicles],)
    answer = round_to_vehicles(subproblem, owner, machines, chosen.value_ore, effort)
    return Bounded(answer, chosen.value_ore)


def _rounded(
    subproblem: Subproblem, shares: Shares, limit_ore: int, effort: WorkBudget
) -> SubproblemAnswer:
    """Return an answer near to shares: the vehicles that are used by half or more, and flows."""
    chosen = [
        [
            machine
            for machine in pool.machines
            if shares.machines[machine.vehicle.vehicle_id] >= _HALF
        ]
        for pool in subproblem.pools
    ]
    sure = shares.trips.max(axis=0) > _HALF
    owner = np.where(sure, shares.trips.argmax(axis=0), _NOBODY)
    return round_to_vehicles(
        subproblem, _made_whole(subproblem, owner, chosen, effort), chosen, limit_ore, effort
    )


def _made_whole(
    subproblem: Subproblem, owner: Ints, chosen: list[list[Machine]], effort: WorkBudget
) -> Ints:
    """Let each pool in turn take what it takes best beside the others, until nothing changes."""
    everyone = np.arange(len(owner))
    values = np.array([pool.values_ore for pool in subproblem.pools])
    for _ in range(_TURNS):
        before = owner.copy()
        for number, machines in enumerate(chosen):
            if flow_s(len(owner)) > effort.limit_s - effort.spent_s:
                return owner
            free = (owner == _NOBODY) | (owner == number)
            beyond = values[number] - np.where(free, 0, values[owner, everyone])
            supply = subproblem.pools[number].supply(machines)
            taken = most_valuable(subproblem.demand, beyond, supply, effort)
            owner[owner == number] = _NOBODY
            owner[taken] = number
        if len(chosen) == 1 or np.array_equal(owner, before):
            break
    return owner
