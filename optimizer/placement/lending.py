"""Lending: a depot's overflow is taken by a vehicle of a neighbouring depot while that is in.

Levels are the unit. What the k-th vehicle of a depot would have taken, and does not because there
is none, may be lent the m-th vehicle of a neighbour: of those trip chains, each that the lender's
own leave time for, changeovers included, and that is dearer unserved than the way to the neighbour
and back. One vehicle lends to one level, and a level borrows of one vehicle: what two lenders could
do together for one level is left out, so that the plan promises less than operations can reach. The
trip chain keeps its hours: who borrows sets out earlier and is back later by the way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Final

import numpy as np

from optimizer.costs import (
    fetching_ore,
    road_km,
    unserved_ore,
)
from optimizer.demand import MarginalVehicle, TripChain
from optimizer.work_budget import Bools, Ints
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot
from schemas.fleet.policy import Fetching, PlacementPolicy
from schemas.fleet.vehicle_type import VehicleType

LevelsByDepot = Mapping[tuple[str, VehicleType], tuple[MarginalVehicle, ...]]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LONG_AGO_US: Final = np.iinfo(np.int64).min
_NEVER_US: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, order=True)
class Lending:
    """A neighbour's m-th vehicle of a class does what a depot's own k-th would have done.

    `lender_level` counts from 1; one more than the lender's levels is any vehicle that it does not
    need itself, of which there may be several.
    """

    vehicle_class: VehicleType
    borrower_id: str
    borrower_level: int
    lender_id: str
    lender_level: int


@dataclass(frozen=True, slots=True)
class LendingGain:
    """What a lending does with the observed trip chains: the price it saves, and whom it serves."""

    saved_ore: int
    """Without what the lender's vehicle burns."""
    trip_chains: int
    round_trips: int
    distance_m: int
    """Of each trip chain in whole metres, so that their sum is the same in any order."""


def ways_min(
    depots: Mapping[str, Depot], policy: PlacementPolicy, costs: Costs
) -> dict[tuple[str, str], float]:
    """Return the minutes between the depots that lend to each other, both ways round."""
    if policy.lending_within_min <= 0:
        return {}
    speed_kmh = {
        Fetching.ON_FOOT: costs.walking_speed_kmh,
        Fetching.BY_BICYCLE: costs.cycling_speed_kmh,
    }[policy.fetching]
    ways: dict[tuple[str, str], float] = {}
    for borrower_id, lender_id in permutations(sorted(depots), 2):
        # The same figure both ways round, to the last bit.
        ends = sorted((borrower_id, lender_id))
        way_km = road_km(depots[ends[0]], depots[ends[1]], costs)
        minutes = way_km / speed_kmh * 60
        if minutes <= policy.lending_within_min:
            ways[borrower_id, lender_id] = minutes
    return ways


def taken_over(
    wanted: Sequence[TripChain], own: Sequence[TripChain], way_min: float, costs: Costs
) -> Iterator[TripChain]:
    """Yield the trip chains that a lender with trip chains of its own takes over; both by start."""
    price_ore = fetching_ore(way_min, costs)
    changeover = timedelta(seconds=costs.changeover_s)
    starts = [trip_chain.started_at for trip_chain in own]
    for trip_chain in wanted:
        if unserved_ore(trip_chain.distance_m, costs) <= price_ore:
            continue
        following = bisect_right(starts, trip_chain.started_at)
        before, after = own[following - 1 : following], own[following : following + 1]
        if before and before[0].ended_at + changeover > trip_chain.started_at:
            continue
        if after and trip_chain.ended_at + changeover > after[0].started_at:
            continue
        yield trip_chain


def lent(levels: LevelsByDepot, way_min: float, lending: Lending, costs: Costs) -> LendingGain:
    """Return what a lending does, one trip chain after another."""
    wanted = levels[lending.borrower_id, lending.vehicle_class][lending.borrower_level - 1].taken
    own = levels.get((lending.lender_id, lending.vehicle_class), ())
    held = own[lending.lender_level - 1].taken if lending.lender_level <= len(own) else ()
    trip_chains = list(taken_over(wanted, held, way_min, costs))
    return LendingGain(
        sum(
            unserved_ore(trip_chain.distance_m, costs) - fetching_ore(way_min, costs)
            for trip_chain in trip_chains
        ),
        len(trip_chains),
        sum(trip_chain.round_trips for trip_chain in trip_chains),
        sum(round(trip_chain.distance_m) for trip_chain in trip_chains),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """The trip chains of one depot's levels, one after another, as arrays."""

    started_us: Ints
    """Microseconds since 1970, as are all its instants."""
    ended_us: Ints
    price_ore: Ints
    round_trips: Ints
    distance_m: Ints
    level: Ints
    """From 0."""


def possible(
    levels: LevelsByDepot, ways: Mapping[tuple[str, str], float], costs: Costs
) -> Iterator[tuple[Lending, LendingGain]]:
    """Yield all lendings that save anything, with what they do: `lent`, by whole depots."""
    changeover_us = timedelta(seconds=costs.changeover_s) // _MICROSECOND
    rows = {key: _row(of_one, costs) for key, of_one in levels.items()}
    for (borrower_id, vehicle_class), wanted in rows.items():
        for (to, lender_id), way_min in ways.items():
            if to != borrower_id:
                continue
            own = rows.get((lender_id, vehicle_class))
            count = len(levels.get((lender_id, vehicle_class), ()))
            price_ore = fetching_ore(way_min, costs)
            pays = wanted.price_ore > price_ore
            for number in range(count + 1):
                fits = pays if own is None else pays & _free(wanted, own, number, changeover_us)
                saved, trip_chains, trips, metres = (
                    np.bincount(wanted.level[fits], weights=weights[fits], minlength=1)
                    for weights in (
                        wanted.price_ore - price_ore,
                        np.ones_like(wanted.price_ore),
                        wanted.round_trips,
                        wanted.distance_m,
                    )
                )
                for level in np.flatnonzero(trip_chains).tolist():
                    lending = Lending(vehicle_class, borrower_id, level + 1, lender_id, number + 1)
                    yield (
                        lending,
                        LendingGain(
                            *(
                                int(borrower_id[level])
                                for borrower_id in (saved, trip_chains, trips, metres)
                            )
                        ),
                    )


def _row(of_one: Sequence[MarginalVehicle], costs: Costs) -> _Row:
    taken = [
        (number, trip_chain) for number, level in enumerate(of_one) for trip_chain in level.taken
    ]
    return _Row(
        np.array([_us(trip_chain.started_at) for _, trip_chain in taken], dtype=np.int64),
        np.array([_us(trip_chain.ended_at) for _, trip_chain in taken], dtype=np.int64),
        np.array(
            [unserved_ore(trip_chain.distance_m, costs) for _, trip_chain in taken], dtype=np.int64
        ),
        np.array([trip_chain.round_trips for _, trip_chain in taken], dtype=np.int64),
        np.array([round(trip_chain.distance_m) for _, trip_chain in taken], dtype=np.int64),
        np.array([number for number, _ in taken], dtype=np.int64),
    )


def _free(wanted: _Row, own: _Row, number: int, changeover_us: int) -> Bools:
    """Return which wanted trip chains the lender's vehicle of a number, from 0, has time for."""
    held = own.level == number
    starts, ends = own.started_us[held], own.ended_us[held]
    following = np.searchsorted(starts, wanted.started_us, side="right")
    back = np.concatenate(([_LONG_AGO_US], ends + changeover_us))[following]
    leaves = np.concatenate((starts, [_NEVER_US]))[following]
    return (back <= wanted.started_us) & (wanted.ended_us + changeover_us <= leaves)


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
