"""How few vehicles could serve all round trips of a class, if they drove empty between depots.

One round trip can follow another where its depot is reached, a changeover and an empty drive after
the other's end, before it starts. Vehicles are chains of such; the fewest are the round trips less
the largest matching of each with the one after it (Dantzig and Fulkerson 1954). No vehicle of the
fleet is looked at: seats, prices, locks and times when they cannot be had would only need more.

Two ways, both exact. Where all empty drives take equally long, a sweep by start: what may follow a
round trip never shrinks, and of those that could be followed the one is taken that is free for
fewest others. Otherwise a largest flow. Days that all vehicles are through with before the next
begins, wherever they stand, are apart: the fewest are those of the worst.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ortools.graph.python.max_flow import SimpleMaxFlow

from optimizer.assignment.flow import overlaps
from optimizer.assignment.subproblem import microseconds
from optimizer.work_budget import Bools, Ints
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.assignment import AssignmentInputs, DepotUse, FewestVehicles, WantedRoundTrip

_NO_WAY = 1 << 60
"""Microseconds: no horizon is as long."""


@dataclass(frozen=True, slots=True)
class EmptyMoves:
    """Round trips by start, their depots by number, and how long empty drives take (microseconds).

    `drives_us` is from depot (row) to depot (column), 0 within one.
    """

    starts_us: Ints
    frees_us: Ints
    depots: Ints
    drives_us: Ints

    def only(self, which: Ints | Bools) -> EmptyMoves:
        """Return some of the round trips."""
        return EmptyMoves(
            self.starts_us[which], self.frees_us[which], self.depots[which], self.drives_us
        )


def fewest_vehicles(
    inputs: AssignmentInputs, depots: Sequence[DepotUse]
) -> tuple[FewestVehicles, ...]:
    """Return the bound of each class; nothing where the inputs have no empty drives.

    Depots without a drive between them exchange no vehicles, unless by way of a third.
    """
    if not inputs.empty_drives:
        return ()
    by_class: defaultdict[VehicleType, list[WantedRoundTrip]] = defaultdict(list)
    for trip in inputs.round_trips:
        by_class[trip.vehicle_class].append(trip)
    return tuple(
        FewestVehicles(
            vehicle_class=kind,
            round_trips=len(trips),
            peak_overlaps=sum(
                depot.peak_overlap for depot in depots if depot.vehicle_class == kind
            ),
            fewest_vehicles=fewest(_moves(inputs, trips)),
        )
        for kind, trips in sorted(by_class.items())
    )


def in_words(counts: Sequence[FewestVehicles]) -> str:
    """Say for each class what empty drives could save at most; nothing where nothing is known."""
    return " ".join(
        f"If each {fewest.vehicle_class.value.replace('_', '-')} could drive empty between depots, "
        f"{fewest.fewest_vehicles} could serve all {fewest.round_trips} round trips; without that "
        "the "
        f"depots' peaks add up to {fewest.peak_overlaps}."
        for fewest in counts
    )


def _moves(inputs: AssignmentInputs, trips: Sequence[WantedRoundTrip]) -> EmptyMoves:
    names = sorted(
        {round_trip.depot_id for round_trip in inputs.round_trips}
        | {
            end
            for empty_drive in inputs.empty_drives
            for end in (empty_drive.from_depot_id, empty_drive.to_depot_id)
        }
    )
    number = {name: place for place, name in enumerate(names)}
    drives = np.full((len(names), len(names)), _NO_WAY, dtype=np.int64)
    np.fill_diagonal(drives, 0)
    for empty_drive in inputs.empty_drives:
        length_us = round(empty_drive.duration_s * 1_000_000)
        drives[number[empty_drive.from_depot_id], number[empty_drive.to_depot_id]] = length_us
    # By way of a third depot where that is quicker.
    for via in range(len(names)):
        drives = np.minimum(drives, drives[:, [via]] + drives[[via], :])
    depots = np.array([number[trip.depot_id] for trip in trips], dtype=np.int64)
    there, own = np.unique(depots, return_inverse=True)
    starts = np.array([microseconds(trip.started_at) for trip in trips], dtype=np.int64)
    frees = np.array([microseconds(trip.ended_at) for trip in trips], dtype=np.int64)
    changeover_us = round(inputs.changeover_s * 1_000_000)
    return EmptyMoves(starts, frees + changeover_us, own, drives[np.ix_(there, there)])


def fewest(moves: EmptyMoves) -> int:
    """Return the fewest vehicles for all round trips."""
    apart = ~np.eye(len(moves.drives_us), dtype=np.bool_)
    lengths = moves.drives_us[apart]
    longest = int(lengths.max(initial=0))
    alike = len(lengths) == 0 or longest == int(lengths.min())
    blocks = [moves.only(block) for block in _blocks(moves, longest)]
    if alike:
        return max((_swept(block, longest) for block in blocks), default=0)
    # A block that needs no more at the longest drives than another in truth is not looked into.
    most = [_swept(block, longest) for block in blocks]
    count = 0
    for place in sorted(range(len(blocks)), key=lambda index: (-most[index], index)):
        if most[place] > count:
            count = max(count, _flowed(blocks[place], most[place]))
    return count


def _blocks(moves: EmptyMoves, longest_us: int) -> list[Ints]:
    """Split where all who were out can be anywhere before the next start."""
    ready = np.maximum.accumulate(moves.frees_us)[:-1] + longest_us
    cuts = np.flatnonzero(ready <= moves.starts_us[1:]) + 1
    return np.split(np.arange(len(moves.starts_us)), cuts)


def _swept(moves: EmptyMoves, drive_us: int) -> int:
    """Return the fewest where each empty drive takes so long.

    A vehicle that is free at its depot but could not be elsewhere yet serves only there: of those
    the last one is taken first, for it will be the last to be of use elsewhere. If there is none,
    any of those that can be everywhere.
    """
    order = np.argsort(moves.frees_us, kind="stable")
    frees, homes = moves.frees_us[order].tolist(), moves.depots[order].tolist()
    near: list[deque[int]] = [deque() for _ in moves.drives_us]
    freed = everywhere = aged = used = 0
    taken = [False] * len(frees)
    for start, depot in zip(moves.starts_us.tolist(), moves.depots.tolist(), strict=True):
        while freed < len(frees) and frees[freed] <= start:
            near[homes[freed]].append(freed)
            freed += 1
        while aged < freed and frees[aged] + drive_us <= start:
            if not taken[aged]:
                near[homes[aged]].popleft()
                everywhere += 1
            aged += 1
        if near[depot]:
            taken[near[depot].pop()] = True
        elif everywhere:
            everywhere -= 1
        else:
            used += 1
    return used


def _flowed(moves: EmptyMoves, most: int) -> int:
    """Return the fewest by a largest flow from round trips to those after them, `most` at most.

    At each depot the starts are a chain: who is in time for one is in time for all after it.
    Raises `RuntimeError` when the flow is not solved.
    """
    size = len(moves.starts_us)
    if int(overlaps(moves.starts_us, moves.frees_us).max(initial=0)) >= most:
        return most
    trips = np.arange(size)
    source, sink = 2 * size, 2 * size + 1
    tails = [np.full(size, source), size + trips]
    heads = [trips, np.full(size, sink)]
    capacities = [np.ones(2 * size, dtype=np.int64)]
    for depot in range(len(moves.drives_us)):
        chain = np.flatnonzero(moves.depots == depot)
        if not len(chain):
            continue
        tails.append(size + chain[:-1])
        heads.append(size + chain[1:])
        capacities.append(np.full(len(chain) - 1, size))
        there = moves.frees_us + moves.drives_us[moves.depots, depot]
        first = np.searchsorted(moves.starts_us[chain], there)
        in_time = np.flatnonzero(first < len(chain))
        tails.append(in_time)
        heads.append(size + chain[first[in_time]])
        capacities.append(np.ones(len(in_time), dtype=np.int64))
    flow = SimpleMaxFlow()
    flow.add_arcs_with_capacity(
        np.concatenate(tails), np.concatenate(heads), np.concatenate(capacities)
    )
    status = flow.solve(source, sink)
    if status != flow.OPTIMAL:
        raise RuntimeError(f"the flow of {size} round trips ended as {status}")
    return size - int(flow.optimal_flow())
