"""Assignment: which round trip takes which vehicle over the whole horizon, at the least cost.

Round trips return to their depot, so each depot and class is a problem of its own. Vehicles alike
in seats and price a kilometre make a pool, and what a pool takes best is a min-cost flow
(`optimizer.assignment.flow`), exact for one pool of vehicles that are always there. Where several
pools could take a round trip, a price for each such trip makes the pools independent: any prices
give a bound, and what each pool takes beside the others is improved in turns. Where shifts and
locks cut a vehicle's time, the flow is a bound and the vehicles are dealt out best fit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

import numpy as np

from optimizer.assignment.cell import Cell, Pool, cells_of, pooled
from optimizer.assignment.dealing import deal
from optimizer.assignment.flow import Chosen, Concave
from optimizer.assignment.reasons import explanation, lock_conflicts, reason
from optimizer.costs import CONSTANTS, ORE_PER_DKK
from optimizer.effort import Effort, Ints
from optimizer.search import Search, Tell
from schemas.assignment import AssignmentInputs, AssignmentPlan, DepotUse, UnservedRoundTrip
from schemas.plan import SolverStatus

_TURNS: Final = 6
_FIRST_STEP: Final = 1.0
_STALLS: Final = 5
_LEAST_STEP: Final = 0.02
_MOMENTUM: Final = 0.5
_IMPROVE_EACH: Final = 5

_NOBODY: Final = -1


@dataclass(frozen=True, slots=True)
class _Choice:
    """The pool that takes each round trip, how many vehicles of each pool, and what that saves."""

    owner: Ints
    used: tuple[int, ...]
    value_ore: int


@dataclass(frozen=True, slots=True)
class _Solved:
    """A cell with its vehicles dealt out: the pool's machine of each trip, and the costs in øre."""

    cell: Cell
    vehicles: tuple[str | None, ...]
    used: frozenset[str]
    objective_ore: int
    bound_ore: int


def inputs_hash(inputs: AssignmentInputs) -> str:
    """Return the SHA-256, in hexadecimal, of the sorted inputs and the cost constants."""
    document = json.dumps(dict(CONSTANTS), sort_keys=True) + inputs.model_dump_json()
    return hashlib.sha256(document.encode()).hexdigest()


def assign(
    inputs: AssignmentInputs, search: Search, progress: Tell | None = None
) -> AssignmentPlan:
    """Return which round trip takes which vehicle, with its price and a proven bound.

    The search is deterministic and its limit deterministic time; the seed orders nothing here and
    is kept with the plan. Reading the inputs and the first answer are not limited. `progress`
    hears of each depot and class.
    """
    conflicts = lock_conflicts(inputs)
    if conflicts:
        return _plan(inputs, search, (), " ".join(conflicts))
    effort = Effort(search.time_limit_s)
    cells = cells_of(inputs)
    solved: list[_Solved] = []
    for number, cell in enumerate(cells):
        if progress is not None:
            depot_id, vehicle_class = cell.key
            progress(
                number / len(cells),
                f"{depot_id}, {vehicle_class}: {len(cell.trips)} round trips",
            )
        left_s = max(1e-9, effort.limit_s - effort.spent_s)
        mine = Effort(left_s / (len(cells) - number))
        solved.append(_solve(cell, mine))
        effort.spent_s += mine.spent_s
    return _plan(inputs, search, tuple(solved), "")


def _solve(cell: Cell, effort: Effort) -> _Solved:
    base = int(cell.prices_ore.sum()) + cell.locked_ore
    choice, limit_ore = _choose(cell, effort)
    machines = deal(cell, choice.owner, choice.used, effort)
    served_ore = 0
    used = set(cell.locks.values())
    for machine in machines:
        if machine.trips:
            used.add(machine.vehicle.vehicle_id)
            served_ore -= machine.price_ore
    vehicles: list[str | None] = [None] * len(cell.trips)
    for pool in cell.pools:
        for machine in pool.machines:
            for trip in machine.trips:
                vehicles[trip] = machine.vehicle.vehicle_id
                served_ore += int(pool.values_ore[trip])
    return _Solved(cell, tuple(vehicles), frozenset(used), base - served_ore, base - limit_ore)


def _choose(cell: Cell, effort: Effort) -> tuple[_Choice, int]:
    """Return which pool should take each round trip, and what can be saved at most, in øre."""
    pools = cell.pools
    nobody = np.full(len(cell.trips), _NOBODY)
    if not pools or not len(nobody):
        return _Choice(nobody, (0,) * len(pools), 0), 0
    if len(pools) == 1:
        alone = Concave(cell.demand, pools[0].values_ore, pools[0].prices_ore, effort)
        chosen = _taken(pools[0], alone)
        owner = np.where(chosen.taken, 0, _NOBODY)
        choice = _Choice(owner, (chosen.vehicles,), chosen.value_ore)
        return choice, _limit(pools[0], alone).value_ore
    best = _improved(cell, nobody, effort)
    # All vehicles as one pool that serves everything at the least price a kilometre.
    machines = [machine for pool in pools for machine in pool.machines]
    merged = pooled(machines, np.max([pool.values_ore for pool in pools], axis=0))
    always = Concave(cell.demand, merged.values_ore, merged.prices_ore, effort)
    limit = _limit(merged, always).value_ore
    if limit <= best.value_ore:
        return best, limit
    return _priced(cell, best, limit, effort)


def _priced(cell: Cell, best: _Choice, limit: int, effort: Effort) -> tuple[_Choice, int]:
    """Lower the limit by prices for round trips that several pools could take.

    Subgradients with momentum; whole øre, so that every limit is exact.
    """
    values = np.array([pool.values_ore for pool in cell.pools])
    ranked = np.sort(values, axis=0)
    prices = ranked[-2].astype(np.float64)
    direction = np.zeros(len(prices))
    step, stalled, turn = _FIRST_STEP, 0, 0
    while best.value_ore < limit and step >= _LEAST_STEP and not effort.over:
        turn += 1
        whole = np.rint(prices).astype(np.int64)
        taken = [
            _limit(pool, Concave(cell.demand, own - whole, pool.prices_ore, effort))
            for own, pool in zip(values, cell.pools, strict=True)
        ]
        total = int(whole.sum()) + sum(one.value_ore for one in taken)
        stalled += 1
        if total < limit - 1e-5 * abs(limit):
            stalled = 0
        limit = min(limit, total)
        if stalled >= _STALLS:
            step, stalled = step / 2, 0
        took = np.array([one.taken for one in taken])
        if turn % _IMPROVE_EACH == 1:
            first = np.where(took.any(axis=0), np.where(took, values, -1).argmax(axis=0), _NOBODY)
            best = max(best, _improved(cell, first, effort), key=lambda one: one.value_ore)
        direction = _MOMENTUM * direction + (1 - took.sum(axis=0))
        # Prices do not fall below nothing: there the direction does not count.
        direction[(prices <= 0) & (direction > 0)] = 0
        length = float(direction @ direction)
        if not length:
            break
        prices = np.maximum(prices - step * (total - best.value_ore) / length * direction, 0)
    return best, limit


def _improved(cell: Cell, owner: Ints, effort: Effort) -> _Choice:
    """Let each pool in turn take what it takes best beside the others, until nothing changes."""
    owner = owner.copy()
    used = [0] * len(cell.pools)
    prices = [0] * len(cell.pools)
    everyone = np.arange(len(owner))
    values = np.array([pool.values_ore for pool in cell.pools])
    for _ in range(_TURNS):
        before = owner.copy()
        for number, pool in enumerate(cell.pools):
            others = np.where((owner == _NOBODY) | (owner == number), 0, values[owner, everyone])
            always = Concave(cell.demand, values[number] - others, pool.prices_ore, effort)
            chosen = _taken(pool, always)
            owner[owner == number] = _NOBODY
            owner[chosen.taken] = number
            used[number] = chosen.vehicles
            prices[number] = int(pool.prices_ore[: chosen.vehicles].sum())
        if len(cell.pools) == 1 or np.array_equal(owner, before) or effort.over:
            break
    served = owner != _NOBODY
    value = int(values[owner[served], everyone[served]].sum()) - sum(prices)
    return _Choice(owner, tuple(used), value)


def _taken(pool: Pool, always: Concave) -> Chosen:
    """Return what a pool takes best, and with how many vehicles; exact if always there.

    Where they are not, as many are used as if they were, and these take what they can.
    """
    best = always.best()
    if pool.always_there:
        return best
    taken = always.with_supply(pool.supply(best.vehicles))
    price = int(pool.prices_ore[: best.vehicles].sum())
    return Chosen(taken, best.vehicles, int(always.values_ore[taken].sum()) - price)


def _limit(pool: Pool, always: Concave) -> Chosen:
    """Return what a pool cannot save more than, and what it would take for that.

    So many vehicles earn no more than as many that are always there, and no more than all
    vehicles of the pool in the time when they can be had.
    """
    best = always.best()
    if pool.always_there:
        return best
    taken = always.with_supply(pool.supply(len(pool.machines)))
    most = int(always.values_ore[taken].sum())
    low, high = 0, best.vehicles
    while low < high:
        middle = (low + high) // 2
        if always.earned(middle) >= most:
            high = middle
        else:
            low = middle + 1
    if always.earned(low) < most:
        return best
    reached = most - int(pool.prices_ore[:low].sum())
    below = always.with_vehicles(low - 1).value_ore if low else 0
    return Chosen(taken, low, max(reached, below))


def _plan(
    inputs: AssignmentInputs, search: Search, solved: tuple[_Solved, ...], conflict: str
) -> AssignmentPlan:
    objective = sum(one.objective_ore for one in solved)
    bound = sum(one.bound_ore for one in solved)
    assignment: dict[str, str] = {}
    unserved: list[UnservedRoundTrip] = []
    depots: list[DepotUse] = []
    there = {one.cell.key: len(one.cell.pools) for one in solved}
    fleet = {
        key: [one for one in inputs.vehicles if (one.depot_id, one.vehicle_class) == key]
        for key in there
    }
    for one in solved:
        cell = one.cell
        assignment |= cell.locks
        missing = [number for number, vehicle in enumerate(one.vehicles) if vehicle is None]
        for number in missing:
            trip = cell.trips[number]
            unserved.append(
                UnservedRoundTrip(
                    round_trip_id=trip.round_trip_id,
                    price_dkk=int(cell.prices_ore[number]) / ORE_PER_DKK,
                    reason=reason(inputs, trip, fleet[cell.key], cell, number),
                )
            )
        assignment |= {
            trip.round_trip_id: vehicle
            for trip, vehicle in zip(cell.trips, one.vehicles, strict=True)
            if vehicle is not None
        }
        depots.append(
            DepotUse(
                depot_id=cell.key[0],
                vehicle_class=cell.key[1],
                vehicles=len(fleet[cell.key]),
                used=len(one.used),
                peak_overlap=cell.peak,
                unserved=len(missing),
            )
        )
    status = SolverStatus.OPTIMAL if objective == bound else SolverStatus.FEASIBLE
    gap = (objective - bound) / objective if objective else 0.0
    if conflict:
        status, gap = SolverStatus.INFEASIBLE, 1.0
    return AssignmentPlan(
        municipality_id=inputs.municipality_id,
        inputs_hash=inputs_hash(inputs),
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status=status,
        objective_dkk=objective / ORE_PER_DKK,
        bound_dkk=bound / ORE_PER_DKK,
        gap=gap,
        vehicles_used=sum(len(one.used) for one in solved),
        assignment=dict(sorted(assignment.items())),
        unserved=tuple(sorted(unserved, key=lambda one: one.round_trip_id)),
        depots=tuple(depots),
        explanation=conflict or explanation(inputs, tuple(depots), assignment),
    )
