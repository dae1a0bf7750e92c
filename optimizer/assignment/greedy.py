"""From the round trips that a pool takes to the vehicle of each: dealt out by start, best fit.

For vehicles that are always there it never fails where no more are out than there are. Where times
cut them, what was not dealt is put in where it fits, if need be by moving one other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from optimizer.assignment.subproblem import Machine, Subproblem
from optimizer.work_budget import Ints, WorkBudget

_CELLS_PER_LOOK: Final = 1000
"""Looking whether one vehicle is free costs a few microseconds (measured)."""

_CELLS_PER_FIT: Final = 5_000
"""Dealing out one round trip costs some ten microseconds (measured), and a bit a vehicle."""


_INSERTION_SHARE: Final = 0.1
"""Part of the effort that is left that may go into what was not dealt out."""


@dataclass(frozen=True, slots=True)
class SubproblemAnswer:
    """The vehicle of each round trip of a subproblem, None for nobody, and what that saves."""

    vehicles: tuple[str | None, ...]
    value_ore: int


def first_come_first_served(subproblem: Subproblem) -> SubproblemAnswer:
    """Give each round trip to a free vehicle, those with the fewest seats first.

    No search: a step for each round trip and pool. Vehicles that earn less than they cost stay.
    """
    _clear(subproblem)
    left = np.ones(len(subproblem.trips), dtype=np.bool_)
    for pool in subproblem.pools:
        _best_fit(subproblem, pool.machines, np.flatnonzero(left & (pool.values_ore > 0)))
        for machine in pool.machines:
            left[machine.trips] = False
    _leave_standing(subproblem)
    return _answer(subproblem)


def round_to_vehicles(
    subproblem: Subproblem,
    owner: Ints,
    chosen: Sequence[Sequence[Machine]],
    limit_ore: int,
    effort: WorkBudget,
) -> SubproblemAnswer:
    """Give each round trip to a vehicle of the pool that owns it.

    `owner` has the number of a pool for each round trip, or a negative one for nobody; `chosen` are
    the vehicles of each pool that may be given round trips. What is left is put in where it fits,
    unless what can be saved at most, `limit_ore`, is reached.
    """
    _clear(subproblem)
    for number, machines in enumerate(chosen):
        mine = np.flatnonzero(owner == number)
        effort.spend(len(mine) * (_CELLS_PER_FIT + 4 * len(machines)), 0)
        _best_fit(subproblem, machines, mine)
    _leave_standing(subproblem)
    answer = _answer(subproblem)
    if answer.value_ore >= limit_ore:
        return answer
    part = WorkBudget(max(1e-9, _INSERTION_SHARE * (effort.limit_s - effort.spent_s)))
    _insert_left_out(subproblem, part)
    effort.spent_s += part.spent_s
    return _answer(subproblem)


def _clear(subproblem: Subproblem) -> None:
    for pool in subproblem.pools:
        for machine in pool.machines:
            machine.starts.clear()
            machine.trips.clear()


def _leave_standing(subproblem: Subproblem) -> None:
    """Take from each vehicle all it does where that earns less than using it costs."""
    for pool in subproblem.pools:
        for machine in pool.machines:
            if machine.trips and int(pool.values_ore[machine.trips].sum()) < machine.price_ore:
                machine.starts.clear()
                machine.trips.clear()


def _answer(subproblem: Subproblem) -> SubproblemAnswer:
    vehicles: list[str | None] = [None] * len(subproblem.trips)
    value_ore = 0
    for pool in subproblem.pools:
        for machine in pool.machines:
            if machine.trips:
                value_ore += int(pool.values_ore[machine.trips].sum()) - machine.price_ore
            for trip in machine.trips:
                vehicles[trip] = machine.vehicle.vehicle_id
    return SubproblemAnswer(tuple(vehicles), value_ore)


def _best_fit(subproblem: Subproblem, machines: Sequence[Machine], trips: Ints) -> None:
    """Give each to the free vehicle whose time ends soonest after it, of those the cheapest."""
    if not machines:
        return
    position = [0] * len(machines)
    opens = np.array([machine.windows[0][0] for machine in machines], dtype=np.int64)
    closes = np.array([machine.windows[0][1] for machine in machines], dtype=np.int64)
    free_at = opens.copy()
    for trip in trips.tolist():
        start, free = int(subproblem.demand.starts_us[trip]), int(subproblem.demand.frees_us[trip])
        for number in np.flatnonzero(closes <= start).tolist():
            windows = machines[number].windows
            while position[number] < len(windows) - 1 and closes[number] <= start:
                position[number] += 1
                opens[number], closes[number] = windows[position[number]]
        fits = np.flatnonzero((free_at <= start) & (opens <= start) & (closes >= free))
        if not len(fits):
            continue
        number = int(fits[closes[fits].argmin()])
        machine = machines[number]
        machine.starts.append(start)
        machine.trips.append(trip)
        free_at[number] = free


def _insert_left_out(subproblem: Subproblem, effort: WorkBudget) -> None:
    """Put what has no vehicle in where it fits, the most valuable first."""
    machines = [
        (machine, pool.values_ore) for pool in subproblem.pools for machine in pool.machines
    ]
    values = np.max([pool.values_ore for pool in subproblem.pools], axis=0)
    placed = {trip for machine, _ in machines for trip in machine.trips}
    missing = [trip for trip in range(len(values)) if trip not in placed and values[trip] > 0]
    for trip in sorted(missing, key=lambda trip: (-int(values[trip]), trip)):
        if effort.over:
            return
        effort.spend(_CELLS_PER_LOOK * len(machines), 0)
        place = _place(subproblem, machines, trip)
        if place is not None:
            place.give(trip, int(subproblem.demand.starts_us[trip]))
            continue
        _eject(subproblem, machines, trip, effort)


def _place(
    subproblem: Subproblem,
    machines: Sequence[tuple[Machine, Ints]],
    trip: int,
    but: Machine | None = None,
    least_ore: int = 0,
) -> Machine | None:
    """Return the vehicle on which a round trip saves most, more than the least; None if none."""
    start, free = int(subproblem.demand.starts_us[trip]), int(subproblem.demand.frees_us[trip])
    best: Machine | None = None
    for machine, values in machines:
        saves = int(values[trip]) - (0 if machine.trips else machine.price_ore)
        if (
            saves > least_ore
            and values[trip] > 0
            and machine is not but
            and machine.window(start, free)
            and not machine.clashes(start, free, subproblem.demand.frees_us)
        ):
            best, least_ore = machine, saves
    return best


def _eject(
    subproblem: Subproblem, machines: Sequence[tuple[Machine, Ints]], trip: int, effort: WorkBudget
) -> None:
    """Move the one round trip that is in the way on some vehicle to another, if that saves."""
    start, free = int(subproblem.demand.starts_us[trip]), int(subproblem.demand.frees_us[trip])
    for machine, values in machines:
        if not values[trip] or not machine.window(start, free):
            continue
        clashing = machine.clashes(start, free, subproblem.demand.frees_us)
        if len(clashing) != 1:
            continue
        other = clashing[0]
        effort.spend(_CELLS_PER_LOOK * len(machines), 0)
        # What is gained here must be more than what the other loses by moving.
        least = int(values[other]) - int(values[trip])
        place = _place(subproblem, machines, other, machine, least)
        if place is not None:
            machine.take(other)
            machine.give(trip, start)
            place.give(other, int(subproblem.demand.starts_us[other]))
            return
        if effort.over:
            return
