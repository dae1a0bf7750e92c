"""The vehicles that a fleet has now, grouped into kinds: what is alike is one kind.

A fleet of thirty has thirty prices and consumptions. As thirty kinds they would be thirty counts a
depot, of which none tells more than the few that they are variations of.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from optimizer.composition.catalogue import CHARGING_KW
from optimizer.demand import class_of
from optimizer.study import NothingToStudyError
from schemas.fleet.energy import assumed
from schemas.fleet.master_data import EnergySource, Vehicle
from schemas.fleet.vehicle_type import MOTOR, VehicleType
from schemas.plans.composition import OUR, Cargo, VehicleKind

ALIKE: Final = 1.5
"""The dearest of a kind costs at most so many times the cheapest, and burns likewise (ours)."""

_CARGO: Final = {
    VehicleType.CAR: Cargo.SMALL,
    VehicleType.VAN: Cargo.LARGE,
    VehicleType.CARGO_BIKE: Cargo.SMALL,
    VehicleType.E_BIKE: Cargo.NONE,
    VehicleType.BIKE: Cargo.NONE,
}


@dataclass(frozen=True, slots=True)
class PresentKinds:
    """Kinds of the present fleet, which vehicle is of which, and how many lacked which number."""

    kinds: tuple[VehicleKind, ...]
    kind_of: dict[str, str]
    lacked: dict[str, int]
    """In words, such as `yearly cost`, to vehicles that have it of a kind to choose from."""


@dataclass(frozen=True, slots=True)
class _VehicleWithDefaults:
    """A vehicle with all numbers that a kind needs."""

    vehicle_id: str
    vehicle_type: VehicleType
    energy_source: EnergySource
    seats: int
    consumption_per_km: float
    yearly_cost_dkk: float
    range_km: float | None


def present_kinds(vehicles: Sequence[Vehicle], catalogue: Sequence[VehicleKind]) -> PresentKinds:
    """Return kinds of equal type, energy source and seats, and of cost and consumption alike.

    A kind costs and burns what its vehicles do on average, and reaches as far as the least of
    them. What nobody has entered is taken from the kind of the catalogue that is nearest: of the
    same type and source, of the same type, or any bicycle for a bicycle. Raises
    `NothingToStudyError` where there is none.
    """
    lacked: Counter[str] = Counter()
    groups: defaultdict[tuple[VehicleType, EnergySource, int], list[_VehicleWithDefaults]] = (
        defaultdict(list)
    )
    for vehicle in sorted(vehicles, key=lambda vehicle: vehicle.vehicle_id):
        entered_vehicle = _known(vehicle, catalogue, lacked)
        groups[
            entered_vehicle.vehicle_type, entered_vehicle.energy_source, entered_vehicle.seats
        ].append(entered_vehicle)
    kinds: list[VehicleKind] = []
    kind_of: dict[str, str] = {}
    names: Counter[str] = Counter()
    for key in sorted(groups):
        for alike in _alike(groups[key]):
            name = _name(alike[0])
            names[name] += 1
            kind = _kind(name if names[name] == 1 else f"{name}-{names[name]}", alike)
            kinds.append(kind)
            kind_of |= dict.fromkeys((vehicle.vehicle_id for vehicle in alike), kind.kind_id)
    return PresentKinds(tuple(kinds), kind_of, dict(lacked))


def _known(
    vehicle: Vehicle, catalogue: Sequence[VehicleKind], lacked: Counter[str]
) -> _VehicleWithDefaults:
    vehicle_type, source = class_of(vehicle), assumed(vehicle.energy_source)
    on_charger = vehicle_type in MOTOR and source is EnergySource.ELECTRICITY

    def entered(
        what: str, value: float | None, of_kind: Callable[[VehicleKind], float | None]
    ) -> float:
        if value:
            return value
        lacked[what] += 1
        nearest = _nearest(
            vehicle_type,
            source,
            [vehicle_kind for vehicle_kind in catalogue if of_kind(vehicle_kind)],
        )
        typical = None if nearest is None else of_kind(nearest)
        if typical is None:
            raise NothingToStudyError(
                f"{vehicle.vehicle_id} has no {what} entered, and no {vehicle_type} among the "
                f"kinds to choose from has one; enter its {what}, or give such a kind with --kinds"
            )
        return typical

    def burnt(vehicle_kind: VehicleKind) -> float | None:
        """Return what a kind burns if in the vehicle's unit: litres and kWh do not mix."""
        electric = EnergySource.ELECTRICITY
        same = (vehicle_kind.energy_source is electric) == (source is electric)
        return vehicle_kind.consumption_per_km if same else None

    burns = source is not EnergySource.MUSCLE
    return _VehicleWithDefaults(
        vehicle.vehicle_id,
        vehicle_type,
        source,
        vehicle.seats if vehicle_type in MOTOR else 1,
        entered("consumption", vehicle.consumption_per_km, burnt) if burns else 0.0,
        entered(
            "yearly cost",
            vehicle.yearly_cost_dkk,
            lambda vehicle_kind: vehicle_kind.yearly_cost_dkk,
        ),
        entered("range", vehicle.range_km, lambda vehicle_kind: vehicle_kind.range_km)
        if on_charger
        else vehicle.range_km,
    )


def _nearest(
    vehicle_type: VehicleType, source: EnergySource, kinds: Sequence[VehicleKind]
) -> VehicleKind | None:
    """Return the kind most like a vehicle: by type, then energy source, then litres or kWh."""
    electric = EnergySource.ELECTRICITY

    def distance(vehicle_kind: VehicleKind) -> tuple[bool, bool, bool, str]:
        return (
            vehicle_kind.vehicle_type is not vehicle_type,
            vehicle_kind.energy_source is not source,
            (vehicle_kind.energy_source is electric) != (source is electric),
            vehicle_kind.kind_id,
        )

    motor = vehicle_type in MOTOR
    able = [
        kind
        for kind in kinds
        if kind.vehicle_type is vehicle_type or not (motor or kind.vehicle_type in MOTOR)
    ]
    return min(able, key=distance, default=None)


def _alike(vehicles: Sequence[_VehicleWithDefaults]) -> list[list[_VehicleWithDefaults]]:
    """Return groups within which cost and consumption are alike, cut where they differ most."""
    for number_of in (_cost, _consumption):
        ordered = sorted(vehicles, key=lambda vehicle: (number_of(vehicle), vehicle.vehicle_id))
        least, most = number_of(ordered[0]), number_of(ordered[-1])
        if most > ALIKE * least:
            cut = max(
                range(1, len(ordered)),
                key=lambda index: (
                    number_of(ordered[index]) / (number_of(ordered[index - 1]) or 1e-9)
                ),
            )
            return _alike(ordered[:cut]) + _alike(ordered[cut:])
    return [sorted(vehicles, key=lambda vehicle: vehicle.vehicle_id)]


def _cost(vehicle: _VehicleWithDefaults) -> float:
    return vehicle.yearly_cost_dkk


def _consumption(vehicle: _VehicleWithDefaults) -> float:
    return vehicle.consumption_per_km


def _name(vehicle: _VehicleWithDefaults) -> str:
    vehicle_type = vehicle.vehicle_type.value.replace("_", "-")
    if vehicle.vehicle_type not in MOTOR:
        return f"{OUR}{vehicle_type}"
    electric = vehicle.energy_source is EnergySource.ELECTRICITY
    return f"{OUR}{'electric' if electric else vehicle.energy_source.value}-{vehicle_type}"


def _kind(name: str, alike: Sequence[_VehicleWithDefaults]) -> VehicleKind:
    vehicle = alike[0]
    on_charger = vehicle.vehicle_type in MOTOR and vehicle.energy_source is EnergySource.ELECTRICITY
    ranges = [
        entered_vehicle.range_km
        for entered_vehicle in alike
        if entered_vehicle.range_km is not None
    ]
    return VehicleKind(
        kind_id=name,
        vehicle_type=vehicle.vehicle_type,
        energy_source=vehicle.energy_source,
        consumption_per_km=fmean(map(_consumption, alike)),
        yearly_cost_dkk=fmean(map(_cost, alike)),
        seats=vehicle.seats,
        cargo=_CARGO[vehicle.vehicle_type],
        range_km=min(ranges, default=None),
        charging_kw=CHARGING_KW if on_charger else None,
    )
