"""A placement problem as an integer program, and its answers as placements and lendings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from optimizer.costs import driving_ore_per_km, missing_charger_ore
from optimizer.demand import class_of
from optimizer.placement.cost_breakdown import vehicles_at
from optimizer.placement.lending import Lending
from optimizer.placement.problem import PlacementProblem, needs_charger
from optimizer.placement.program import Program
from schemas.fleet.master_data import EnergySource, VehicleType
from schemas.fleet.vehicle_type import MOTOR

DepotClass = tuple[str, VehicleType]
"""A depot and a class."""


@dataclass(frozen=True, slots=True)
class InterchangeableVehicles:
    """Vehicles that cost and serve the same wherever they stand; those that rather stay first."""

    vehicle_class: VehicleType
    on_charger: bool
    stands_at: str | None
    is_locked: bool
    driving_ore_per_km: int
    members: tuple[str, ...]


def groups_of(problem: PlacementProblem) -> tuple[InterchangeableVehicles, ...]:
    """Return the vehicles in groups."""
    alike: defaultdict[
        tuple[VehicleType, bool, str | None, bool, EnergySource, float], list[str]
    ] = defaultdict(list)
    for vehicle_id, vehicle in problem.vehicles.items():
        key = (
            class_of(vehicle),
            needs_charger(vehicle),
            problem.stands_at[vehicle_id],
            vehicle_id in problem.locked,
            vehicle.energy_source,
            vehicle.consumption_per_km,
        )
        alike[key].append(vehicle_id)

    def rather_stays(vehicle_id: str) -> tuple[bool, int, str]:
        home = problem.vehicles[vehicle_id].home_depot_id
        origin = problem.stands_at[vehicle_id]
        left = 0 if origin is None else problem.departures.get((vehicle_id, origin), 0)
        return home is None, -left, vehicle_id

    return tuple(
        InterchangeableVehicles(
            key[0],
            key[1],
            key[2],
            key[3],
            driving_ore_per_km(problem.vehicles[members[0]], problem.costs),
            tuple(sorted(members, key=rather_stays)),
        )
        for key, members in alike.items()
    )


@dataclass(slots=True)
class PlacementModel:
    """The program of a problem, and what its columns stand for.

    With `is_priced` the cost is minimised and the share to be served binds; without, what counts
    is first by how many round trips that share is missed, then how little changes.
    """

    problem: PlacementProblem
    is_priced: bool = True
    program: Program = field(default_factory=Program)
    groups: tuple[InterchangeableVehicles, ...] = ()
    counts: dict[tuple[int, str], int] = field(default_factory=dict)
    unserved: dict[DepotClass, list[int]] = field(default_factory=dict)
    dearer: dict[tuple[DepotClass, int], list[int]] = field(default_factory=dict)
    """Of a depot and class and a price a kilometre: which levels no vehicle that cheap takes."""
    fixed_ore: int = 0
    """What all placements cost: the program's values come on top of it."""
    missing_chargers: dict[str, int] = field(default_factory=dict)
    lendings: dict[Lending, int] = field(default_factory=dict)
    spare: dict[DepotClass, int] = field(default_factory=dict)
    short: dict[VehicleType, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = groups_of(self.problem)
        there: defaultdict[DepotClass, list[int]] = defaultdict(list)
        motor: defaultdict[str, list[int]] = defaultdict(list)
        electric: defaultdict[str, list[int]] = defaultdict(list)
        self._place(there, motor, electric)
        self._bound_depots(motor, electric)
        self._serve(there)
        self._lend()
        self._reach_share()

    def _column(self, upper: int, cost_ore: int, *, is_change: bool = False) -> int:
        return self.program.column(upper, cost_ore if self.is_priced else int(is_change))

    def _place(
        self,
        there: Mapping[DepotClass, list[int]],
        motor: Mapping[str, list[int]],
        electric: Mapping[str, list[int]],
    ) -> None:
        """Put every vehicle at one depot, locked ones where they are; note who is where."""
        for number, group in enumerate(self.groups):
            size, places = len(group.members), []
            for depot_id in self.problem.depots:
                if group.is_locked and depot_id != group.stands_at:
                    continue
                price_ore = self.problem.relocation_ore(group.members[0], depot_id)
                column = self._column(size, price_ore, is_change=price_ore > 0)
                self.counts[number, depot_id] = column
                places.append(column)
                there[depot_id, group.vehicle_class].append(column)
                if group.vehicle_class in MOTOR:
                    motor[depot_id].append(column)
                if group.on_charger:
                    electric[depot_id].append(column)
            self.program.row(places, [1] * len(places), size, size)

    def _bound_depots(
        self, motor: Mapping[str, list[int]], electric: Mapping[str, list[int]]
    ) -> None:
        """Keep motor vehicles within the places; price electric ones beyond the chargers."""
        price_ore = missing_charger_ore(self.problem.horizon_days, self.problem.costs)
        for depot_id, depot in self.problem.depots.items():
            columns = motor.get(depot_id, [])
            self.program.row(columns, [1] * len(columns), None, depot.capacity)
            columns = electric.get(depot_id, [])
            if columns:
                missing = self._column(len(self.problem.vehicles), price_ore)
                self.missing_chargers[depot_id] = missing
                factors = [1] * len(columns) + [-1]
                self.program.row([*columns, missing], factors, None, depot.charger_count)

    def _serve(self, there: Mapping[DepotClass, list[int]]) -> None:
        """Let the vehicles of a class at a depot serve its levels in turn; count who is left."""
        lenders = {(lending.lender_id, lending.vehicle_class) for lending in self.problem.lendings}
        for key in sorted({*self.problem.levels, *lenders}):
            levels = self.problem.levels.get(key, ())
            dearest = self._drive(key, there.get(key, []))
            unserved = [
                self._column(
                    1, self.problem.level_ore(level) - self.problem.driving_ore(level, dearest)
                )
                for level in levels
            ]
            self.unserved[key] = unserved
            columns = [*there.get(key, []), *unserved]
            factors = [1] * len(columns)
            if key in lenders:
                self.spare[key] = self._column(len(self.problem.vehicles), 0)
                columns.append(self.spare[key])
                factors.append(-1)
            self.program.row(columns, factors, len(levels), None)
            self._in_turn(unserved)

    def _drive(self, key: DepotClass, columns: Sequence[int]) -> int:
        """Price the kilometres of a depot's levels, as if all were served; return the dearest.

        The cheapest vehicles take the first levels, as each trip chain takes the cheapest that is
        in. A level that no vehicle of a price or a lower one takes costs the step to the next
        price.
        """
        prices = self.problem.prices.get(key[1], (0,))
        levels = self.problem.levels.get(key, ())
        cheapest = [self.problem.driving_ore(level, prices[0]) for level in levels]
        if self.is_priced:
            self.fixed_ore += sum(cheapest)
        group_of = {column: self.groups[key] for (key, _), column in self.counts.items()}
        for price, following in pairwise(prices):
            steps = [
                self._column(
                    1,
                    self.problem.driving_ore(level, following)
                    - self.problem.driving_ore(level, price),
                )
                for level in levels
            ]
            self.dearer[key, price] = steps
            cheap = [column for column in columns if group_of[column].driving_ore_per_km <= price]
            self.program.row([*cheap, *steps], [1] * (len(cheap) + len(steps)), len(levels), None)
            self._in_turn(steps)
        return prices[-1]

    def _in_turn(self, lacking: Sequence[int]) -> None:
        """Have each level lack what the one before it lacks."""
        for lower, higher in pairwise(lacking):
            self.program.row([lower, higher], [1, -1], None, 0)

    def _lend(self) -> None:
        """Let vehicles that are there take over from those that are not, one for one.

        A spare vehicle is lent only where the depot's own levels are all served.
        """
        borrowed: defaultdict[int, list[int]] = defaultdict(list)
        lent: defaultdict[int, list[int]] = defaultdict(list)
        spares: defaultdict[DepotClass, list[int]] = defaultdict(list)
        for lending, gain in self.problem.lendings.items():
            column = self._column(1, -self.problem.saved_ore(lending, gain), is_change=True)
            self.lendings[lending] = column
            kind = lending.vehicle_class
            wanted = self.unserved[lending.borrower_id, kind][lending.borrower_level - 1]
            borrowed[wanted].append(column)
            lender = lending.lender_id, kind
            if lending.lender_level > len(self.unserved[lender]):
                spares[lender].append(column)
            else:
                lent[self.unserved[lender][lending.lender_level - 1]].append(column)
        for wanted, columns in borrowed.items():
            self.program.row([*columns, wanted], [1] * len(columns) + [-1], None, 0)
        for lacking, columns in lent.items():
            self.program.row([*columns, lacking], [1] * (len(columns) + 1), None, 1)
        for key, columns in spares.items():
            self.program.row([*columns, self.spare[key]], [1] * len(columns) + [-1], None, 0)
            if self.unserved[key]:
                most = min(len(columns), len(self.problem.vehicles))
                last = self.unserved[key][-1]
                self.program.row([*columns, last], [1] * len(columns) + [most], None, most)

    def _reach_share(self) -> None:
        all_changes = len(self.problem.vehicles) + len(self.lendings)
        for kind, may_lack in self.problem.may_lack().items():
            columns: list[int] = []
            factors: list[int] = []
            for key, unserved in self.unserved.items():
                if key[1] is kind:
                    columns += unserved
                    factors += [level.round_trips for level in self.problem.levels.get(key, ())]
            for lending, lent in self.problem.lendings.items():
                if lending.vehicle_class is kind:
                    columns.append(self.lendings[lending])
                    factors.append(-lent.round_trips)
            if not self.is_priced:
                self.short[kind] = self.program.column(
                    sum(max(0, factor) for factor in factors), all_changes + 1
                )
                columns.append(self.short[kind])
                factors.append(-1)
            self.program.row(columns, factors, None, may_lack)

    def as_it_stands(self) -> list[int]:
        """Return the values of the present placement, without lending."""
        values = [0] * len(self.program.upper)
        for number, group in enumerate(self.groups):
            if group.stands_at is not None:
                values[self.counts[number, group.stands_at]] = len(group.members)
        there = vehicles_at(self.problem, self.problem.as_it_stands())
        lacking = dict.fromkeys(self.short, 0)
        for key, unserved in self.unserved.items():
            levels = self.problem.levels.get(key, ())
            for column in unserved[there.get(key, 0) :]:
                values[column] = 1
            if key[1] in lacking:
                lacking[key[1]] += sum(level.round_trips for level in levels[there.get(key, 0) :])
        for (key, price), steps in self.dearer.items():
            cheap = sum(
                len(group.members)
                for group in self.groups
                if (group.stands_at, group.vehicle_class) == key
                and group.driving_ore_per_km <= price
            )
            for column in steps[cheap:]:
                values[column] = 1
        for depot_id, column in self.missing_chargers.items():
            electric = sum(
                len(group.members)
                for group in self.groups
                if group.on_charger and group.stands_at == depot_id
            )
            values[column] = max(0, electric - self.problem.depots[depot_id].charger_count)
        may_lack = self.problem.may_lack()
        for kind, column in self.short.items():
            values[column] = max(0, lacking[kind] - may_lack[kind])
        return values

    def read(self, values: Sequence[int]) -> tuple[dict[str, str], tuple[Lending, ...]]:
        """Return placement and lendings; what is lent to who has a vehicle after all is not."""
        placement: dict[str, str] = {}
        for number, group in enumerate(self.groups):
            depots = sorted(
                self.problem.depots, key=lambda depot: (depot != group.stands_at, depot)
            )
            seats = [
                depot
                for depot in depots
                if (number, depot) in self.counts
                for _ in range(values[self.counts[number, depot]])
            ]
            placement |= zip(group.members, seats, strict=True)
        there = vehicles_at(self.problem, placement)
        lendings = [
            key
            for key, column in self.lendings.items()
            if values[column]
            and there.get((key.borrower_id, key.vehicle_class), 0) < key.borrower_level
        ]
        return dict(sorted(placement.items())), tuple(sorted(lendings))
