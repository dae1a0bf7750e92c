"""Who drives when and where: a municipality's plan for one day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from processors.usage.calendar import days_off
from schemas.fleet.master_data import VehicleType
from stream.simulator.config import SimulationConfig
from stream.simulator.fleet import Member, Roster, demand_shares, rng_of
from stream.simulator.outings import Meeting, Outings, SimulatedOuting

_MEETING_DAYS: Final = (1, 2, 3)
_FRIDAY: Final = 4
_SATURDAY: Final = 5
_ON_DUTY: Final = 0.78
"""Share of a class that a working day needs at once."""
_WEEKEND: Final = 0.12
"""What is left of that on Saturdays, Sundays and holidays."""
_LENT: Final = 0.8
"""How much of a depot's shortage other depots make good."""
_GOES_HOME: Final = 0.3
"""Chance that a lent vehicle goes home for the weekend."""
_HOME_CARE: Final = 0.65
"""Share of the cars on duty; the others run errands."""
_SPARE_ERRAND: Final = 0.15
"""Chance that a vehicle that is not on duty runs an errand."""
_HARDLY_USED_ERRAND: Final = 0.1
_ATTENDS: Final = 0.6
"""Chance that a car which is not on duty takes somebody to the day's meeting."""


@dataclass(slots=True)
class Dispatcher:
    """Plans a municipality's days one after the other; knows where each vehicle stands."""

    config: SimulationConfig
    roster: Roster
    homes: list[int] = field(init=False)
    """Index of the depot where each member is at home."""
    stands_at: list[int] = field(init=False)
    """Index of the depot where each member spends the night."""
    _moving: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.homes = [member.home for member in self.roster.members]
        self.stands_at = self.homes.copy()

    def rehome(self, member: int, depot: int) -> None:
        """Have a member at home at another depot: it is driven there the next morning."""
        self.homes[member] = depot
        self._moving.append(member)

    def plan(self, day: int, on: date) -> list[list[SimulatedOuting]]:
        """Return each member's outings of a day, in order. Days are planned in order, from 0."""
        rng = rng_of(self.config, self.roster.municipality.municipality_id, 1, day)
        drawn = Outings(self.roster.area.towns, self.roster.depots, on, rng)
        outings: list[list[SimulatedOuting]] = [[] for _ in self.roster.members]
        shares = demand_shares(self.config, len(self.roster.depots), day)
        weekend = on.weekday() >= _SATURDAY or on in days_off(
            self.roster.municipality.calendar, [on.year]
        )
        self._move(drawn, outings)
        if not weekend:
            self._lend(shares, drawn, outings)
        meets = not weekend and on.weekday() in _MEETING_DAYS
        meeting = drawn.meeting() if meets else None
        for everyone in self._by_class().values():
            needed = _ON_DUTY * len(everyone) * (_WEEKEND if weekend else 1.0)
            for depot, share in enumerate(shares):
                wanted = int(needed * share + rng.random())
                for count, number in enumerate(self._ready(everyone, depot, drawn)):
                    member = self.roster.members[number]
                    if count < wanted:
                        outings[number] += _duty(drawn, member, depot)
                    elif not weekend:
                        outings[number] += _spare(drawn, member, depot, meeting)
        if on.weekday() == _FRIDAY:
            self._send_home(drawn, outings)
        return outings

    def _by_class(self) -> dict[VehicleType, list[int]]:
        classes: dict[VehicleType, list[int]] = {}
        for number, member in enumerate(self.roster.members):
            classes.setdefault(member.kind.vehicle_type, []).append(number)
        return classes

    def _ready(self, everyone: Sequence[int], depot: int, drawn: Outings) -> list[int]:
        """Return who stands at a depot in the order in which keys are taken: the unloved last."""
        here = [member for member in everyone if self.stands_at[member] == depot]
        shuffled = [here[place] for place in drawn.rng.permutation(len(here)).tolist()]
        return sorted(shuffled, key=lambda member: self.roster.members[member].hardly_used)

    def _move(self, drawn: Outings, outings: list[list[SimulatedOuting]]) -> None:
        """Drive to its new home, before anybody needs it, what is to be at home elsewhere."""
        for member in dict.fromkeys(self._moving):
            home = self.homes[member]
            if self.stands_at[member] != home:
                outings[member].append(drawn.transfer(home, 5.2, 5.8))
                self.stands_at[member] = home
        self._moving.clear()

    def _lend(
        self, shares: Sequence[float], drawn: Outings, outings: list[list[SimulatedOuting]]
    ) -> None:
        """Bring cars and vans, early, from depots that have too many to those that lack some."""
        classes = self._by_class()
        for vehicle_type in (VehicleType.CAR, VehicleType.VAN):
            everyone = classes.get(vehicle_type, [])
            spare = [-_ON_DUTY * len(everyone) * share for share in shares]
            for member in everyone:
                spare[self.stands_at[member]] += 1
            for to in range(len(shares)):
                for _ in range(round(max(0.0, -spare[to]) * _LENT)):
                    origin = max(range(len(spare)), key=spare.__getitem__)
                    lendable = [
                        member
                        for member in everyone
                        if self.stands_at[member] == origin
                        and not self.roster.members[member].hardly_used
                    ]
                    if spare[origin] < 1 or not lendable or self._is_full(to):
                        break
                    member = lendable[int(drawn.rng.integers(len(lendable)))]
                    outings[member].append(drawn.transfer(to, 6.2, 6.6))
                    self.stands_at[member] = to
                    spare[origin] -= 1
                    spare[to] += 1

    def _is_full(self, depot: int) -> bool:
        standing = sum(
            1
            for number, member in enumerate(self.roster.members)
            if self.stands_at[number] == depot and not member.is_cycle
        )
        return standing >= self.roster.depots[depot].capacity

    def _send_home(self, drawn: Outings, outings: list[list[SimulatedOuting]]) -> None:
        for member, home in enumerate(self.homes):
            lent = self.stands_at[member] != home
            if lent and drawn.rng.random() < _GOES_HOME and not self._is_full(home):
                outings[member].append(drawn.transfer(home, 16.5, 17.5))
                self.stands_at[member] = home


def _duty(drawn: Outings, member: Member, depot: int) -> list[SimulatedOuting]:
    if member.is_cycle:
        return drawn.cycling(depot, electric=member.is_electric)
    if member.kind.vehicle_type is VehicleType.VAN:
        return drawn.deliveries(depot)
    if drawn.rng.random() < _HOME_CARE:
        return drawn.home_care(depot)
    return drawn.errands(depot, int(drawn.rng.integers(2, 4)))


def _spare(
    drawn: Outings, member: Member, depot: int, meeting: Meeting | None
) -> list[SimulatedOuting]:
    """Return what a vehicle does that nobody counts on: mostly nothing."""
    takes_people = member.kind.vehicle_type is VehicleType.CAR and not member.hardly_used
    if meeting is not None and takes_people and drawn.rng.random() < _ATTENDS:
        return [drawn.attend(depot, meeting)]
    chance = _HARDLY_USED_ERRAND if member.hardly_used else _SPARE_ERRAND
    if drawn.rng.random() >= chance:
        return []
    if member.is_cycle:
        return drawn.cycling(depot, electric=member.is_electric)
    return drawn.errands(depot, 1)
