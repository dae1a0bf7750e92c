"""Allocation of round trips to vehicle kinds at given counts, as a linear program with its proof.

Round trips of one kind fit into its count exactly when never more of them are out at once: each
kind is an interval graph of its own. Times when nothing is out cut the demand into spells, about
a day long, that share nothing but the counts. A spell's linear relaxation is nearly always whole;
where not, CP-SAT closes it. Its duals are what a vehicle of a kind is worth at each time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ortools.linear_solver import pywraplp
from ortools.sat.python import cp_model

from optimizer.composition.demand import DepotDemand
from optimizer.work_budget import Ints, WorkBudget

OWN_CAR: Final = -1
"""In place of a kind."""

_WHOLE: Final = 1e-6
_CP_SAT_S: Final = 0.2
_UNITS: Final = 1e-4
"""The relaxation calculates in larger units, for its tolerances; nothing proven depends on them."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What an øre and a gram count: whole numbers, so that all sums are exact."""

    ore: int
    g: int

    @property
    def dkk_per_kg(self) -> float:
        """The price of CO2e that they stand for."""
        return self.g / self.ore * 1000 / 100


@dataclass(frozen=True, slots=True)
class Prices:
    """What holding a vehicle of each kind costs: a lower bound for any counts and weights.

    `trips` is the price of the times that each round trip takes of each kind, `vehicle` the price
    of all times together: a vehicle there is worth no more.
    """

    trips: Ints
    vehicle: Ints

    def constant(self, demand: DepotDemand, weights: Weights) -> int:
        """Return what all round trips cost at least, the prices paid, with the best kind each."""
        own = weights.ore * demand.own_ore + weights.g * demand.own_g
        driven = weights.ore * demand.drive_ore + weights.g * demand.drive_g + self.trips
        paid = np.where(demand.able, driven, own[:, None]).min(axis=1, initial=own.max(initial=0))
        return int(np.minimum(own, paid).sum())


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which kind takes each round trip (a column, or `OWN_CAR`) and a year's driving."""

    kind: Ints
    drive_ore: int
    g: int


class AllocationModel:
    """A depot's demand, in spells that are solved for any counts and weights."""

    def __init__(self, demand: DepotDemand) -> None:
        self.demand = demand
        self._spells = [_BusyPeriod(demand, rows) for rows in _busy_periods(demand)]

    @property
    def peaks(self) -> tuple[int, ...]:
        """Return the most vehicles of each kind that its round trips could use at once."""
        return tuple(
            max((spell.peak(column) for spell in self._spells), default=0)
            for column in range(len(self.demand.kinds))
        )

    def allot(
        self, counts: Sequence[int], weights: Weights, effort: WorkBudget, *, close: bool
    ) -> tuple[Allocation, Prices]:
        """Return a cheap allotment with so many of each kind, and its prices.

        It is the cheapest of all if `close`, but where CP-SAT does not finish a spell; else spells
        whose relaxation is not whole are mended. When the effort is over, the spells that are
        left are allotted first come, first served, at no prices.
        """
        kind = np.full(len(self.demand.trips), OWN_CAR, dtype=np.int64)
        trips = np.zeros_like(self.demand.drive_ore)
        vehicle = np.zeros(len(self.demand.kinds), dtype=np.int64)
        own = weights.ore * self.demand.own_ore + weights.g * self.demand.own_g
        driven = weights.ore * self.demand.drive_ore + weights.g * self.demand.drive_g
        saved = np.where(self.demand.able, own[:, None] - driven, 0)
        for spell in self._spells:
            kind[spell.rows] = spell.solve(
                counts, saved[spell.rows], effort, (trips, vehicle), close=close
            )
        served = np.flatnonzero(kind != OWN_CAR)
        left = kind == OWN_CAR
        taken = served, kind[served]
        return Allocation(
            kind,
            int(self.demand.drive_ore[taken].sum() + self.demand.own_ore[left].sum()),
            int(self.demand.drive_g[taken].sum() + self.demand.own_g[left].sum()),
        ), Prices(trips, vehicle)


def _busy_periods(demand: DepotDemand) -> Iterator[Ints]:
    """Yield the round trips between times when none is out, whatever kind takes them."""
    if not demand.trips:
        return
    last = np.where(demand.able, demand.free_s, demand.start_s[:, None]).max(axis=1, initial=0)
    reach = np.maximum.accumulate(last)
    cuts = np.flatnonzero(demand.start_s[1:] >= reach[:-1]) + 1
    yield from np.split(np.arange(len(demand.trips)), cuts)


class _BusyPeriod:
    """Round trips that share nothing with others, and at most how many of a kind are out."""

    def __init__(self, demand: DepotDemand, rows: Ints) -> None:
        self.rows = rows
        self._able = demand.able[rows]
        self._start_s = demand.start_s[rows]
        self._free_s = demand.free_s[rows]
        self.cliques = [
            (column, clique)
            for column in range(len(demand.kinds))
            for clique in self._cliques(column)
        ]
        self._held_by: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for number, (column, clique) in enumerate(self.cliques):
            for row in clique:
                self._held_by[row, column].append(number)
        self._solver: Any = None
        self._variables: dict[tuple[int, int], Any] = {}
        self._held: list[Any] = []

    def peak(self, column: int) -> int:
        """Return the most round trips of a kind at once."""
        return max((len(clique) for kind, clique in self.cliques if kind == column), default=0)

    def _cliques(self, column: int) -> Iterator[list[int]]:
        """Yield the round trips that a kind would have out at once, where no more are."""
        mine = np.flatnonzero(self._able[:, column])
        events = sorted(
            [(int(self._free_s[trip, column]), 0, int(trip)) for trip in mine]
            + [(int(self._start_s[trip]), 1, int(trip)) for trip in mine]
        )
        out: set[int] = set()
        grown = False
        for _, leaves, trip in events:
            if leaves:
                out.add(trip)
                grown = True
                continue
            if grown:
                yield sorted(out)
            grown = False
            out.discard(trip)

    def _relaxation(self) -> None:
        solver = pywraplp.Solver.CreateSolver("GLOP")
        once = [solver.Constraint(-solver.infinity(), 1) for _ in self.rows]
        for row, column in np.argwhere(self._able).tolist():
            variable = solver.NumVar(0, solver.infinity(), "")
            once[row].SetCoefficient(variable, 1)
            self._variables[row, column] = variable
        for column, clique in self.cliques:
            held = solver.Constraint(-solver.infinity(), 0)
            for row in clique:
                held.SetCoefficient(self._variables[row, column], 1)
            self._held.append(held)
        solver.Objective().SetMaximization()
        self._solver = solver

    def solve(
        self,
        counts: Sequence[int],
        saved: Ints,
        effort: WorkBudget,
        prices: tuple[Ints, Ints],
        *,
        close: bool,
    ) -> Ints:
        """Return the kinds of the spell's round trips; add its prices to those of all."""
        if effort.over:
            return self._one_by_one(counts, saved)
        if self._solver is None:
            self._relaxation()
            effort.spend(0, len(self._variables) // 10 + 1)
        objective = self._solver.Objective()
        for (row, column), variable in self._variables.items():
            objective.SetCoefficient(variable, float(saved[row, column]) * _UNITS)
        for (column, _), held in zip(self.cliques, self._held, strict=True):
            held.SetUb(counts[column])
        status = self._solver.Solve()
        effort.spend(0, self._solver.iterations() + len(self._variables) // 40 + 1)
        if status != pywraplp.Solver.OPTIMAL:
            raise RuntimeError(f"a spell of {len(self.rows)} round trips has LP status {status}")
        trips, vehicle = prices
        for (column, clique), held in zip(self.cliques, self._held, strict=True):
            price = max(0, round(held.dual_value() / _UNITS))
            vehicle[column] += price
            trips[self.rows[clique], column] += price
        shares = {key: column.solution_value() for key, column in self._variables.items()}
        whole = all(min(share, 1 - share) < _WHOLE for share in shares.values())
        if close and not whole:
            return self._packed(counts, saved, effort)
        return self._mended(counts, saved, shares)

    def _mended(
        self, counts: Sequence[int], saved: Ints, shares: Mapping[tuple[int, int], float]
    ) -> Ints:
        """Return the kinds of the largest shares, one after the other as far as there is room."""
        room = [counts[column] for column, _ in self.cliques]
        chosen = np.full(len(self.rows), OWN_CAR, dtype=np.int64)
        for row, column in sorted(shares, key=lambda share: (-round(shares[share], 6), *share)):
            if saved[row, column] <= 0 or shares[row, column] < _WHOLE or chosen[row] != OWN_CAR:
                continue
            held = self._held_by[row, column]
            if all(room[clique] for clique in held):
                chosen[row] = column
                for clique in held:
                    room[clique] -= 1
        return chosen

    def _packed(self, counts: Sequence[int], saved: Ints, effort: WorkBudget) -> Ints:
        """Return the best kinds by CP-SAT, no worse than one by one."""
        first = self._one_by_one(counts, saved)
        model = cp_model.CpModel()
        taken: dict[tuple[int, int], Any] = {}
        for row, column in np.argwhere(self._able & (saved > 0)).tolist():
            taken[row, column] = model.new_bool_var("")
            model.add_hint(taken[row, column], value=bool(first[row] == column))
        for row in range(len(self.rows)):
            model.add_at_most_one(variable for (of, _), variable in taken.items() if of == row)
        for column, clique in self.cliques:
            held = [taken[row, column] for row in clique if (row, column) in taken]
            if len(held) > counts[column]:
                model.add(sum(held) <= counts[column])
        model.maximize(sum(int(saved[key]) * variable for key, variable in taken.items()))
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.linearization_level = 2
        solver.parameters.max_deterministic_time = _CP_SAT_S
        status = solver.solve(model)
        effort.spent_s += solver.response_proto.deterministic_time
        if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
            return first
        chosen = np.full(len(self.rows), OWN_CAR, dtype=np.int64)
        for (row, column), variable in taken.items():
            if solver.value(variable):
                chosen[row] = column
        return chosen if _worth(chosen, saved) >= _worth(first, saved) else first

    def _one_by_one(self, counts: Sequence[int], saved: Ints) -> Ints:
        """Return kinds first come, first served: each takes the best that is there."""
        free_at = [np.zeros(count, dtype=np.int64) for count in counts]
        chosen = np.full(len(self.rows), OWN_CAR, dtype=np.int64)
        for row in range(len(self.rows)):
            for column in np.argsort(-saved[row], kind="stable").tolist():
                if not self._able[row, column] or saved[row, column] <= 0 or not counts[column]:
                    continue
                number = int(free_at[column].argmin())
                if free_at[column][number] <= self._start_s[row]:
                    free_at[column][number] = self._free_s[row, column]
                    chosen[row] = column
                    break
        return chosen


def _worth(chosen: Ints, saved: Ints) -> int:
    served = np.flatnonzero(chosen != OWN_CAR)
    return int(saved[served, chosen[served]].sum())
