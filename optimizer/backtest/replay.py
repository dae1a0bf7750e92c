"""A discrete-event replay of requests for vehicles: who finds one, and which.

It knows vehicles that stand at depots, requests in the order of time, and nothing of the model
that a placement comes from. A request takes a vehicle of its class that stands at its depot; one
that finds none is lost. The vehicle is ready again, at the depot where the request ends, when a
changeover has passed: one-way trips leave vehicles elsewhere, and there they are found, until
somebody fetches them over night. In the morning all stand where the placement has them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from heapq import heapify, heappop, heappush
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.costs import energy_dkk_per_km
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Vehicle, VehicleType
from schemas.plans.demand import ObservedRoundTrip

# In the order in which events of the same instant happen: who is just ready can be had.
_READY: Final = 0
_NIGHT: Final = 1
_REQUEST: Final = 2


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants a vehicle of a class from a depot, and leaves it at one."""

    depot_id: str
    vehicle_class: VehicleType
    started_at: datetime
    ended_at: datetime
    to_depot_id: str
    distance_m: float
    round_trips: int = 1


@dataclass(frozen=True, slots=True)
class Fetched:
    """A vehicle that was left at a depot and driven over night to the one where it belongs."""

    vehicle_id: str
    from_depot_id: str
    to_depot_id: str


@dataclass(frozen=True, slots=True)
class Replay:
    """Each request and the vehicle that took it, None where there was none; and who was fetched."""

    requests: Sequence[Request]
    taken_by: Sequence[str | None]
    fetched: Sequence[Fetched]

    @property
    def round_trips(self) -> int:
        """All of them."""
        return sum(request.round_trips for request in self.requests)

    @property
    def served_round_trips(self) -> int:
        """Those that found a vehicle."""
        return sum(request.round_trips for request, who in self._pairs() if who is not None)

    def served(self) -> list[tuple[Request, str]]:
        """Return the requests that found a vehicle, and which."""
        return [(request, who) for request, who in self._pairs() if who is not None]

    def unserved(self) -> list[Request]:
        """Return the requests that found none."""
        return [request for request, who in self._pairs() if who is None]

    def _pairs(self) -> Iterable[tuple[Request, str | None]]:
        return zip(self.requests, self.taken_by, strict=True)


def requested_class(vehicle: Vehicle) -> VehicleType:
    """Return what is asked for by who drove a vehicle: one of unknown type counts as a car."""
    if vehicle.vehicle_type is VehicleType.UNKNOWN:
        return VehicleType.CAR
    return vehicle.vehicle_type


def requests_of(
    round_trips: Iterable[ObservedRoundTrip], vehicles: Iterable[Vehicle], costs: Costs
) -> tuple[Request, ...]:
    """Return the requests that round trips were, by start.

    Who leaves again with the same vehicle before a changeover is over has not given it back: that
    is one request. Where nobody knows where a vehicle ended, it is back where it was taken.
    Raises `KeyError` when a round trip's vehicle is not among the vehicles.
    """
    changeover = timedelta(seconds=costs.changeover_s)
    classes = {vehicle.vehicle_id: requested_class(vehicle) for vehicle in vehicles}
    requests: list[Request] = []
    newest: dict[str, int] = {}
    for trip in sorted(
        round_trips, key=lambda round_trip: (round_trip.started_at, round_trip.vehicle_id)
    ):
        place = newest.get(trip.vehicle_id)
        before = None if place is None else requests[place]
        request = Request(
            trip.start_depot_id,
            classes[trip.vehicle_id],
            trip.started_at,
            trip.ended_at,
            trip.end_depot_id or trip.start_depot_id,
            trip.distance_m,
        )
        if place is not None and before is not None and _goes_on(before, request, changeover):
            requests[place] = Request(
                before.depot_id,
                before.vehicle_class,
                before.started_at,
                max(before.ended_at, request.ended_at),
                request.to_depot_id,
                before.distance_m + request.distance_m,
                before.round_trips + 1,
            )
        else:
            newest[trip.vehicle_id] = len(requests)
            requests.append(request)
    return tuple(requests)


def _goes_on(before: Request, after: Request, changeover: timedelta) -> bool:
    return before.to_depot_id == after.depot_id and after.started_at < before.ended_at + changeover


def nights_of(requests: Sequence[Request], zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the midnights of a zone that end the days from the first request to the last."""
    if not requests:
        return
    on = requests[0].started_at.astimezone(zone).date()
    last = requests[-1].started_at.astimezone(zone).date()
    while on <= last:
        on += timedelta(days=1)
        yield datetime.combine(on, time(), zone).astimezone(UTC)


def replay(
    requests: Sequence[Request],
    vehicles: Iterable[Vehicle],
    placement: Mapping[str, str],
    nights: Iterable[datetime],
    costs: Costs,
) -> Replay:
    """Replay requests, which must be sorted by start, on vehicles where a placement has them.

    Of those that can be had the cheapest to drive is taken, then the first by id. A vehicle that
    the placement leaves out is not there. `nights` is when vehicles are fetched home.
    """
    stands = _Stands(vehicles, placement, costs)
    changeover = timedelta(seconds=costs.changeover_s)
    events = [(request.started_at, _REQUEST, number, "") for number, request in enumerate(requests)]
    events += [(at, _NIGHT, 0, "") for at in nights]
    heapify(events)
    taken_by: list[str | None] = [None] * len(requests)
    while events:
        at, kind, number, depot_id = heappop(events)
        if kind == _READY:
            stands.arrive(number, depot_id)
        elif kind == _NIGHT:
            stands.fetch_all_home()
        else:
            request = requests[number]
            taken = stands.take(request.depot_id, request.vehicle_class)
            if taken is not None:
                taken_by[number] = stands.fleet[taken].vehicle_id
                back_at = max(at, request.ended_at) + changeover
                heappush(events, (back_at, _READY, taken, request.to_depot_id))
    return Replay(tuple(requests), tuple(taken_by), tuple(stands.fetched))


class _Stands:
    """Who can be had where at present; vehicles by number, the cheapest to drive first."""

    def __init__(
        self, vehicles: Iterable[Vehicle], placement: Mapping[str, str], costs: Costs
    ) -> None:
        self.fleet = sorted(
            (vehicle for vehicle in vehicles if vehicle.vehicle_id in placement),
            key=lambda vehicle: (energy_dkk_per_km(vehicle, costs), vehicle.vehicle_id),
        )
        self.fetched: list[Fetched] = []
        self._classes = [requested_class(vehicle) for vehicle in self.fleet]
        self._homes = [placement[vehicle.vehicle_id] for vehicle in self.fleet]
        self._astray: dict[int, str] = {}
        self._ready: defaultdict[tuple[str, VehicleType], list[int]] = defaultdict(list)
        for number, depot_id in enumerate(self._homes):
            self.arrive(number, depot_id)

    def arrive(self, number: int, depot_id: str) -> None:
        """Have a vehicle ready at a depot."""
        heappush(self._ready[depot_id, self._classes[number]], number)
        if depot_id != self._homes[number]:
            self._astray[number] = depot_id

    def take(self, depot_id: str, vehicle_class: VehicleType) -> int | None:
        """Take a vehicle from a depot; None where there is none."""
        there = self._ready[depot_id, vehicle_class]
        if not there:
            return None
        number = heappop(there)
        self._astray.pop(number, None)
        return number

    def fetch_all_home(self) -> None:
        """Bring everyone who stands elsewhere to where it belongs."""
        astray, self._astray = self._astray, {}
        for number, depot_id in sorted(astray.items()):
            there = self._ready[depot_id, self._classes[number]]
            there.remove(number)
            heapify(there)
            self.arrive(number, self._homes[number])
            self.fetched.append(
                Fetched(self.fleet[number].vehicle_id, depot_id, self._homes[number])
            )
