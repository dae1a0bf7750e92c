"""Demand: round trips become trip chains, which tell how many vehicles a depot needs, for what.

Round trips are what vehicles did, not what people wished for: a trip that was never made because
no vehicle stood there is not in the data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.costs import unserved_ore
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Vehicle, VehicleType
from schemas.plans.demand import DemandProfile, ObservedRoundTrip, PlacementInputs

PROFILE_DAYS: Final = 14
"""Days that a demand profile looks back: each weekday twice, so that a change shows soon."""

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_QUARTER_H: Final = 6
_SATURDAY: Final = 5
_NOON_H: Final = 12


@dataclass(frozen=True, slots=True)
class TripChain:
    """A vehicle away from a depot, until it is back there or has been left at another."""

    depot_id: str
    vehicle_class: VehicleType
    started_at: datetime
    ended_at: datetime
    distance_m: float
    round_trips: int
    vehicle_id: str


@dataclass(frozen=True, slots=True)
class MarginalVehicle:
    """What the k-th vehicle of a class at a depot is needed for.

    `price_ore` is what its trip chains cost when there are only k - 1 vehicles; `days` are the
    local dates, `before_noon` how many of the `trip_chains` leave before twelve, `taken` themselves
    by start, and `distance_m` how far they go together.
    """

    price_ore: int
    trip_chains: int
    round_trips: int
    before_noon: int
    days: frozenset[date]
    taken: tuple[TripChain, ...] = field(repr=False)
    distance_m: float


def class_of(vehicle: Vehicle) -> VehicleType:
    """Return the class whose demand a vehicle serves: one of unknown type counts as a car."""
    kind = vehicle.vehicle_type
    return VehicleType.CAR if kind is VehicleType.UNKNOWN else kind


def trip_chains(inputs: PlacementInputs) -> tuple[TripChain, ...]:
    """Return the trip chains of all vehicles, by start.

    Round trips of one vehicle are one trip chain when it left again before a changeover was over,
    and when it came back over other depots within `round_trip_max_s`: the vehicle was not to be had
    meanwhile, and where it paused there is no demand of its own. Raises `KeyError` when a round
    trip's vehicle is not among the vehicles.
    """
    classes = {vehicle.vehicle_id: class_of(vehicle) for vehicle in inputs.all_vehicles}
    longest = timedelta(seconds=inputs.round_trip_max_s)
    changeover = timedelta(seconds=inputs.costs.changeover_s)
    by_vehicle: defaultdict[str, list[ObservedRoundTrip]] = defaultdict(list)
    for round_trip in inputs.round_trips:
        by_vehicle[round_trip.vehicle_id].append(round_trip)
    all_chains = [
        _trip_chain(classes[vehicle_id], chain)
        for vehicle_id, round_trips in by_vehicle.items()
        for chain in _chains(round_trips, longest, changeover)
    ]
    # Of those that leave at the same instant the dearest gets the vehicle.
    return tuple(
        sorted(
            all_chains,
            key=lambda trip_chain: (
                trip_chain.started_at,
                -trip_chain.distance_m,
                trip_chain.ended_at,
            ),
        )
    )


def _trip_chain(vehicle_class: VehicleType, chain: Sequence[ObservedRoundTrip]) -> TripChain:
    return TripChain(
        chain[0].start_depot_id,
        vehicle_class,
        chain[0].started_at,
        chain[-1].ended_at,
        sum(observed_round_trip.distance_m for observed_round_trip in chain),
        len(chain),
        chain[0].vehicle_id,
    )


def _chains(
    round_trips: Sequence[ObservedRoundTrip], longest: timedelta, changeover: timedelta
) -> Iterator[list[ObservedRoundTrip]]:
    """Yield the round trips of one vehicle, grouped into trip chains."""
    chain: list[ObservedRoundTrip] = []
    position = 0
    while position < len(round_trips):
        length = _way_back(round_trips, position, longest)
        leg = list(round_trips[position : position + length])
        if chain and not (
            leg[0].start_depot_id == chain[0].start_depot_id == chain[-1].end_depot_id
            and leg[0].started_at - chain[-1].ended_at < changeover
        ):
            yield chain
            chain = []
        chain += leg
        position += length
    if chain:
        yield chain


def _way_back(round_trips: Sequence[ObservedRoundTrip], first: int, longest: timedelta) -> int:
    """Return how many round trips it takes from one until its vehicle is back; 1 if it is not."""
    home, started_at = round_trips[first].start_depot_id, round_trips[first].started_at
    at = home
    for count, round_trip in enumerate(round_trips[first:], start=1):
        if round_trip.start_depot_id != at or round_trip.end_depot_id is None:
            return 1
        if count > 1 and round_trip.ended_at - started_at > longest:
            return 1
        at = round_trip.end_depot_id
        if at == home:
            return count
    return 1


def levels(
    of_one_depot: Iterable[TripChain], zone: ZoneInfo, costs: Costs
) -> tuple[MarginalVehicle, ...]:
    """Return what the first, second, … vehicle of one class at one depot is needed for.

    First come, first served, without foresight: each trip chain takes the lowest-numbered vehicle
    that has been back for a changeover. What the first k vehicles take does not depend on whether
    there are more, so with k vehicles exactly the trip chains of the levels above k go unserved.
    """
    changeover = timedelta(seconds=costs.changeover_s)
    free_at: list[datetime] = []
    taken: list[list[TripChain]] = []
    for trip_chain in of_one_depot:
        number = next(
            (number for number, free in enumerate(free_at) if free <= trip_chain.started_at),
            len(free_at),
        )
        if number == len(free_at):
            free_at.append(trip_chain.started_at)
            taken.append([])
        free_at[number] = trip_chain.ended_at + changeover
        taken[number].append(trip_chain)
    return tuple(_level(of_one, zone, costs) for of_one in taken)


def _level(of_one: Sequence[TripChain], zone: ZoneInfo, costs: Costs) -> MarginalVehicle:
    local = [trip_chain.started_at.astimezone(zone) for trip_chain in of_one]
    return MarginalVehicle(
        sum(unserved_ore(trip_chain.distance_m, costs) for trip_chain in of_one),
        len(of_one),
        sum(trip_chain.round_trips for trip_chain in of_one),
        sum(1 for at in local if at.hour < _NOON_H),
        frozenset(at.date() for at in local),
        tuple(of_one),
        sum(trip_chain.distance_m for trip_chain in of_one),
    )


def levels_by_depot(
    all_chains: Iterable[TripChain], zone: ZoneInfo, costs: Costs
) -> dict[tuple[str, VehicleType], tuple[MarginalVehicle, ...]]:
    """Return the levels of each depot and class that has demand."""
    grouped: defaultdict[tuple[str, VehicleType], list[TripChain]] = defaultdict(list)
    for trip_chain in all_chains:
        grouped[trip_chain.depot_id, trip_chain.vehicle_class].append(trip_chain)
    return {key: levels(grouped[key], zone, costs) for key in sorted(grouped)}


def profile(inputs: PlacementInputs) -> DemandProfile:
    """Return the profile of the last `PROFILE_DAYS` before the newest round trip's end.

    Raises `ValueError` when there are no round trips.
    """
    all_chains = trip_chains(inputs)
    if not all_chains:
        raise ValueError(f"no round trips of {inputs.municipality_id}: nothing to profile")
    until = max(trip_chain.ended_at for trip_chain in all_chains)
    since = max(
        until - PROFILE_DAYS * _DAY, min(trip_chain.started_at for trip_chain in all_chains)
    )
    days = max(1.0, (until - since) / _DAY)
    zone = ZoneInfo(inputs.timezone)
    hours: defaultdict[str, float] = defaultdict(float)
    for trip_chain in all_chains:
        for started_at, ended_at in _hourly(max(trip_chain.started_at, since), trip_chain.ended_at):
            local = started_at.astimezone(zone)
            kind = "weekend" if local.weekday() >= _SATURDAY else "workday"
            quarter = local.hour // _QUARTER_H * _QUARTER_H
            bucket = f"{trip_chain.depot_id}|{trip_chain.vehicle_class}|{kind}|{quarter:02d}"
            hours[bucket] += (ended_at - started_at) / _HOUR
    total = sum(hours.values())
    return DemandProfile(
        days=days,
        vehicle_hours_per_day=total / days,
        share_of_hours={bucket: hours[bucket] / total for bucket in sorted(hours) if total > 0},
    )


def _hourly(started_at: datetime, ended_at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield an interval in pieces that no UTC clock hour's end cuts."""
    at = started_at.astimezone(UTC)
    while at < ended_at:
        following = at.replace(minute=0, second=0, microsecond=0) + _HOUR
        yield at, min(following, ended_at)
        at = following
