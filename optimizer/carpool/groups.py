"""Which journeys fit into one vehicle: order of stops, times, seats and what they save.

One journey drives, the others are fetched on the way and set down on the way. People leave at most
`max_shift_s` earlier or later than they did and arrive at most that much later; whoever is early
waits for the others. What fits stays so with a passenger less, as long as no detour is shorter than
the direct way: so groups grow one by one, and none is missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise, permutations
from typing import Final, NamedTuple

from schemas.fleet.costs import Costs
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.carpool import CarpoolInputs, CarpoolRules, Journey
from schemas.plans.travel import Place, Travel, TravelMatrix

_TOLERANCE_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class JourneyLeg:
    """One way of one journey: seconds since the epoch."""

    origin: Place
    destination: Place
    starts_s: float
    arrives_s: float


@dataclass(frozen=True, slots=True)
class Shared:
    """One way of a group: the driver's length and detour, and when each member goes and comes."""

    detour_m: float
    leaves_s: tuple[float, ...]
    arrives_s: tuple[float, ...]
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class CandidateGroup:
    """Journeys by index, the driver first; its ways, and what it saves."""

    members: tuple[int, ...]
    ways: tuple[Shared, ...]
    detour_m: float
    saved_m: float
    saved_dkk: float
    saved_co2e_kg: float
    ridden_dkk: float
    """Energy and CO2e at its price of the passengers' own journeys: saved without any detour."""


@dataclass(frozen=True, slots=True)
class TravelMatrices:
    """Distances and times between all places of the journeys, by type of vehicle."""

    number: Mapping[Place, int]
    matrices: Mapping[VehicleType, TravelMatrix]

    def distance_m(self, vehicle_type: VehicleType, place: Place, other: Place) -> float:
        """Return how far it is."""
        rows = self.matrices[vehicle_type].distance_m
        return rows[self.number[place]][self.number[other]]

    def duration_s(self, vehicle_type: VehicleType, place: Place, other: Place) -> float:
        """Return how long it takes."""
        rows = self.matrices[vehicle_type].duration_s
        return rows[self.number[place]][self.number[other]]


def epoch_of(inputs: CarpoolInputs) -> datetime:
    """Return the instant that seconds are counted from: the first begin."""
    return min(journey.started_at for journey in inputs.journeys)


def travel_matrices(inputs: CarpoolInputs, travel: Travel) -> TravelMatrices:
    """Ask for the ways between all places of the journeys, once for each type of vehicle."""
    places = sorted(
        {place for journey in inputs.journeys for leg in legs_of(journey) for place in leg[:2]}
    )
    types = sorted({journey.vehicle_type for journey in inputs.journeys})
    return TravelMatrices(
        {place: number for number, place in enumerate(places)},
        {number: travel.matrix(places, number) for number in types},
    )


def legs_of(journey: Journey) -> tuple[tuple[Place, Place, datetime, datetime], ...]:
    """Return the ways of a journey: from, to, begin and arrival."""
    origin = Place(journey.origin_lat, journey.origin_lon)
    destination = Place(journey.destination_lat, journey.destination_lon)
    there = (origin, destination, journey.started_at, journey.arrived_at)
    if journey.left_at is None or journey.returned_at is None:
        return (there,)
    return (there, (destination, origin, journey.left_at, journey.returned_at))


class Energy(NamedTuple):
    """What driving costs, without the price of CO2e, and emits."""

    dkk: float
    co2e_kg: float


def energy_of(journey: Journey, metres: float, costs: Costs) -> Energy:
    """Return what so many metres of the journey's vehicle take."""
    source = journey.energy_source
    units = metres / 1000 * journey.consumption_per_km
    return Energy(costs.energy_dkk_per_unit(source) * units, costs.co2e_kg_per_unit(source) * units)


def direct_m(journey: Journey, ways: TravelMatrices) -> float:
    """Return what of a journey's distance its shortest way explains; errands are not saved."""
    shortest_m = sum(
        ways.distance_m(journey.vehicle_type, place, other)
        for place, other, _, _ in legs_of(journey)
    )
    return min(journey.distance_m, shortest_m)


class Grouping:
    """Finds the groups of journeys that the rules allow."""

    def __init__(self, inputs: CarpoolInputs, ways: TravelMatrices) -> None:
        self._journeys = inputs.journeys
        self._rules = inputs.rules
        self._costs = inputs.costs
        self._ways = ways
        self._agreed = set(inputs.agreements)
        epoch = epoch_of(inputs)
        self._legs: list[tuple[JourneyLeg, ...]] = [
            tuple(
                JourneyLeg(
                    place,
                    other,
                    (starts_at - epoch).total_seconds(),
                    (arrives_at - epoch).total_seconds(),
                )
                for place, other, starts_at, arrives_at in legs_of(journey)
            )
            for journey in inputs.journeys
        ]
        self._of_vehicle: dict[str, list[tuple[int, tuple[JourneyLeg, ...]]]] = {}
        for number, journey in enumerate(inputs.journeys):
            self._of_vehicle.setdefault(journey.vehicle_id, []).append((number, self._legs[number]))
        self._direct_m = [direct_m(journey, ways) for journey in inputs.journeys]

    def groups(self, most: int) -> tuple[list[CandidateGroup], bool]:
        """Return the groups, pairs first; not the larger ones where there would be more than most.

        The flag says whether these are all.
        """
        complete: list[CandidateGroup] = []
        growing: list[tuple[tuple[int, ...], list[int]]] = [
            ((driver,), self._near(driver)) for driver in range(len(self._journeys))
        ]
        while growing:
            larger: list[CandidateGroup] = []
            grown: list[tuple[tuple[int, ...], list[int]]] = []
            for members, nexts in growing:
                fitting = [number for number in nexts if self._all_may_share(number, members)]
                groups = [self.group((*members, number)) for number in fitting]
                larger += [group for group in groups if group is not None]
                fitting = [number for number, group in zip(fitting, groups, strict=True) if group]
                if len(members) + 1 < self._rules.max_journeys:
                    grown += [
                        ((*members, number), fitting[place + 1 :])
                        for place, number in enumerate(fitting[:-1])
                    ]
                if complete and len(complete) + len(larger) > most:
                    return complete, False
            complete += larger
            growing = grown
        return complete, True

    def _near(self, driver: int) -> list[int]:
        """Return whom a driver may fetch before its own arrival, as far as times of begin tell."""
        reach_s = 2 * self._rules.max_shift_s
        own = self._legs[driver][0]
        return [
            number
            for number, legs in enumerate(self._legs)
            if number != driver
            and own.starts_s - reach_s <= legs[0].starts_s <= own.arrives_s + reach_s
        ]

    def group(self, members: tuple[int, ...]) -> CandidateGroup | None:
        """Return journeys as a group, the driver first; None when a rule forbids it."""
        journeys = [self._journeys[member] for member in members]
        if sum(journey.seats_taken for journey in journeys) > journeys[0].seats:
            return None
        ways: list[Shared] = []
        for number in range(len(self._legs[members[0]])):
            legs = [self._legs[member][number] for member in members]
            shared = shared_way(legs, journeys[0].vehicle_type, self._ways, self._rules)
            if shared is None:
                return None
            ways.append(shared)
        if any(before.until_s > after.from_s for before, after in pairwise(ways)):
            return None
        if not self._vehicle_is_free(members[0], ways):
            return None
        detour_m = sum(way.detour_m for way in ways)
        saved_m = sum(self._direct_m[member] for member in members[1:]) - detour_m
        ridden = [
            energy_of(self._journeys[member], self._direct_m[member], self._costs)
            for member in members[1:]
        ]
        detour = energy_of(journeys[0], detour_m, self._costs)
        return CandidateGroup(
            members,
            tuple(ways),
            detour_m,
            saved_m,
            saved_dkk=sum(energy.dkk for energy in ridden) - detour.dkk,
            saved_co2e_kg=sum(energy.co2e_kg for energy in ridden) - detour.co2e_kg,
            ridden_dkk=sum(
                energy.dkk + energy.co2e_kg * self._costs.co2_price_dkk_per_kg for energy in ridden
            ),
        )

    def _may_share(self, number: int, other: int) -> bool:
        first, second = self._journeys[number], self._journeys[other]
        pair = min(first.department, second.department), max(first.department, second.department)
        return (
            first.vehicle_id != second.vehicle_id
            and (first.department == second.department or pair in self._agreed)
            and len(self._legs[number]) == len(self._legs[other])
        )

    def _all_may_share(self, number: int, members: Sequence[int]) -> bool:
        return all(self._may_share(number, member) for member in members)

    def _vehicle_is_free(self, driver: int, ways: Sequence[Shared]) -> bool:
        """Return whether the driver's vehicle has no other journey meanwhile."""
        return all(
            number == driver
            or legs[-1].arrives_s <= ways[0].from_s
            or legs[0].starts_s >= ways[-1].until_s
            for number, legs in self._of_vehicle[self._journeys[driver].vehicle_id]
        )


def shared_way(
    legs: Sequence[JourneyLeg], vehicle_type: VehicleType, ways: TravelMatrices, rules: CarpoolRules
) -> Shared | None:
    """Return the shortest way on which all are fetched, then all set down; None if none fits.

    The first leg is the driver's: the way begins at its origin and ends at its destination.
    """
    own_m = ways.distance_m(vehicle_type, legs[0].origin, legs[0].destination)
    best: Shared | None = None
    passengers = range(1, len(legs))
    for fetched in permutations(passengers):
        for set_down in permutations(passengers):
            stops = [(legs[number].origin, number, True) for number in (0, *fetched)]
            stops += [(legs[number].destination, number, False) for number in (*set_down, 0)]
            length_m = sum(
                ways.distance_m(vehicle_type, number[0], other[0])
                for number, other in pairwise(stops)
            )
            detour_m = max(0.0, length_m - own_m)
            if detour_m > rules.max_detour_m or (best and detour_m >= best.detour_m):
                continue
            times_s = _times_s(stops, legs, vehicle_type, ways, rules.max_shift_s)
            if times_s is None:
                continue
            leaves_s = [0.0] * len(legs)
            arrives_s = [0.0] * len(legs)
            for (_, number, boards), time_s in zip(stops, times_s, strict=True):
                (leaves_s if boards else arrives_s)[number] = time_s
            best = Shared(detour_m, tuple(leaves_s), tuple(arrives_s), times_s[0], times_s[-1])
    return best


def _times_s(
    stops: Sequence[tuple[Place, int, bool]],
    legs: Sequence[JourneyLeg],
    vehicle_type: VehicleType,
    ways: TravelMatrices,
    shift_s: float,
) -> list[float] | None:
    """Return when the vehicle leaves each stop, the driver as near its own time as it can."""
    travel_s = [
        ways.duration_s(vehicle_type, number[0], other[0]) for number, other in pairwise(stops)
    ]
    earliest_s = [
        legs[number].starts_s - shift_s if boards else float("-inf") for _, number, boards in stops
    ]
    latest_s = [
        (legs[number].starts_s if boards else legs[number].arrives_s) + shift_s
        for _, number, boards in stops
    ]
    for number in range(len(stops) - 2, -1, -1):
        latest_s[number] = min(latest_s[number], latest_s[number + 1] - travel_s[number])
    now_s = min(max(legs[0].starts_s, earliest_s[0]), latest_s[0])
    times_s = [max(now_s, earliest_s[0])]
    for number, leg_s in enumerate(travel_s, start=1):
        times_s.append(max(times_s[-1] + leg_s, earliest_s[number]))
    late = any(
        time_s > limit_s + _TOLERANCE_S for time_s, limit_s in zip(times_s, latest_s, strict=True)
    )
    return None if late else times_s
