"""What a fleet manager would do: bring the least used vehicle to where most goes unserved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from optimizer.backtest.cost_breakdown import Yard, replay_cost, unserved_dkk
from optimizer.backtest.replay import Replay, Request, nights_of, replay, requested_class
from optimizer.work_budget import WorkBudget
from schemas.fleet.master_data import VehicleType
from schemas.fleet.vehicle_type import MOTOR

_CELLS_PER_REQUEST: Final = 1500
"""A replayed request takes about as long as a pass over so many cells of a matrix (measured)."""

DepotClass = tuple[str, VehicleType]


class Greedy:
    """Moves one vehicle at a time, each at most once, as long as a move pays for itself.

    What a move earns is what the requests would have cost less, had it been made before; its price
    counts in proportion, as `Yard` has it. Classes do not serve each other's requests, so that
    only the moved vehicle's class is replayed again. `effort` ends it before no move pays, and
    whatever `check` raises, which is called before each replay.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        yard: Yard,
        effort: WorkBudget,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._yard = yard
        self._effort = effort
        self._check = check
        # Of all classes together, so that a class alone costs what it costs among the others.
        self._nights = tuple(nights_of(requests, yard.zone))
        self._requests: defaultdict[VehicleType, list[Request]] = defaultdict(list)
        for request in requests:
            self._requests[request.vehicle_class].append(request)
        self._placement = dict(yard.stood_at)
        self._class_of = {
            vehicle_id: requested_class(of) for vehicle_id, of in yard.vehicles.items()
        }
        self._replayed = {kind: self._replay(kind, self._placement) for kind in self._requests}
        self._moved: set[str] = set()
        self._stopped = False

    def placement(self) -> Mapping[str, str]:
        """Return where the vehicles stand in the end."""
        while self._make_a_move():
            pass
        return dict(sorted(self._placement.items()))

    @property
    def stopped(self) -> bool:
        """Whether the time was over while there were moves to try."""
        return self._stopped

    def _make_a_move(self) -> bool:
        """Make the first move that pays, the worst served place first; return whether one did."""
        for depot_id, kind in self._worst_served():
            vehicle_id = self._least_used(depot_id, kind)
            if vehicle_id is None:
                continue
            if self._effort.over:
                self._stopped = True
                return False
            moved = {**self._placement, vehicle_id: depot_id}
            replayed = self._replay(kind, moved)
            if self._cost_dkk(moved, replayed) < self._cost_dkk(
                self._placement, self._replayed[kind]
            ):
                self._placement, self._replayed[kind] = moved, replayed
                self._moved.add(vehicle_id)
                return True
        return False

    def _worst_served(self) -> Iterator[DepotClass]:
        """Yield depots and classes, those whose unserved requests cost most first."""
        lost: defaultdict[DepotClass, float] = defaultdict(float)
        for kind, replayed in self._replayed.items():
            for request in replayed.unserved():
                lost[request.depot_id, kind] += unserved_dkk(request.distance_m, self._yard.costs)
        yield from sorted(lost, key=lambda place: (-lost[place], place))

    def _least_used(self, depot_id: str, kind: VehicleType) -> str | None:
        """Return the vehicle of a class that drove least, of those that can come; None: nobody."""
        taken = self._yard.motor_vehicles_at(self._placement)[depot_id]
        if kind in MOTOR and taken >= self._yard.depots[depot_id].capacity:
            return None
        used: Counter[str] = Counter()
        for request, vehicle_id in self._replayed[kind].served():
            used[vehicle_id] += request.round_trips
        return min(
            (
                vehicle_id
                for vehicle_id, its_kind in self._class_of.items()
                if its_kind is kind
                and vehicle_id not in self._moved
                and self._placement.get(vehicle_id) != depot_id
            ),
            key=lambda vehicle_id: (used[vehicle_id], vehicle_id),
            default=None,
        )

    def _replay(self, kind: VehicleType, placement: Mapping[str, str]) -> Replay:
        self._check()
        requests = self._requests[kind]
        self._effort.spend(_CELLS_PER_REQUEST * len(requests))
        fleet = [
            of
            for vehicle_id, of in self._yard.vehicles.items()
            if self._class_of[vehicle_id] is kind
        ]
        return replay(requests, fleet, placement, self._nights, self._yard.costs)

    def _cost_dkk(self, placement: Mapping[str, str], of_the_class: Replay) -> float:
        """Return the cost of a placement but for what the other classes drive."""
        driven = replay_cost(of_the_class, self._yard)
        return (
            driven.total_dkk
            + self._yard.relocation_dkk(placement)
            + self._yard.charger_dkk(placement)
        )
