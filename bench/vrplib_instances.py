"""Instances of the VRP literature as our routes, and what their best known solutions cost.

Site-dependent VRPTW (Cordeau and Laporte 2001): which vehicle may serve whom is a competence, one
a set of vehicles. A distance of 1 is 1,000 m and 1,000 s, a metre costs 1 DKK: the published
solutions count whole thousandths. Heterogeneous fleet (Pessoa, Sadykov and Uchoa 2018): costs are
hundredths, distances not rounded, and there is no time. A distance of 1 is 1 m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import vrplib

from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.routes import RouteDepot, RouteInputs, RouteVehicle, Visit
from schemas.plans.travel import Place, TravelMatrix

DATA: Final = Path(__file__).resolve().parents[1] / "../shared/data/vrp"

_MONDAY: Final = datetime(2026, 3, 2, tzinfo=UTC)
_FOREVER: Final = timedelta(days=30)
_DEGREES: Final = 1e-2
"""Of latitude or longitude for a distance of 1: only so that places have names."""
_UNSERVED_DKK: Final = 1e7


@dataclass(frozen=True, slots=True)
class Plane:
    """Euclidean ways between the places of an instance, scaled and where asked for rounded."""

    scale: float
    whole: bool

    def matrix(self, places: Sequence[Place], vehicle_type: VehicleType) -> TravelMatrix:
        """Return ways as the literature has them, the same for all vehicles."""
        del vehicle_type
        lat = np.array([place.lat for place in places]) / _DEGREES
        lon = np.array([place.lon for place in places]) / _DEGREES
        ways = np.hypot(lat[:, None] - lat[None, :], lon[:, None] - lon[None, :]) * self.scale
        if self.whole:
            ways = np.round(ways)
        rows = ways.tolist()
        return TravelMatrix(rows, rows)


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as our inputs, its ways, and the cost of the best known solution in DKK."""

    name: str
    inputs: RouteInputs
    travel: Plane
    best_known_dkk: float


def instances(folder: Path = DATA) -> list[Path]:
    """Return the files of instances that have a solution beside them."""
    return sorted(path for path in folder.glob("*.vrp") if path.with_suffix(".sol").exists())


def read(path: Path) -> Instance:
    """Return an instance. Raises `ValueError` for a section that we do not know."""
    document: dict[str, Any] = vrplib.read_instance(path)
    unknown = set(document) - _KNOWN
    if unknown:
        raise ValueError(f"{path.name} has {', '.join(sorted(unknown))}; teach {__name__} to read")
    timed = "time_window" in document
    travel = Plane(scale=1000.0 if timed else 1.0, whole=timed)
    depot_id = "bench/depot"
    x, y = (float(entry) for entry in document["node_coord"][0])
    cost = float(vrplib.read_solution(path.with_suffix(".sol"))["cost"])
    return Instance(
        name=path.stem,
        inputs=RouteInputs(
            municipality_id="bench",
            depots=(RouteDepot(depot_id=depot_id, lat=x * _DEGREES, lon=y * _DEGREES),),
            vehicles=_vehicles(document, depot_id, travel.scale),
            visits=_visits(document, travel.scale),
        ),
        travel=travel,
        best_known_dkk=cost,
    )


_KNOWN: Final = frozenset(
    {
        "name", "comment", "type", "dimension", "vehicles", "edge_weight_type", "node_coord",
        "demand", "capacity", "depot", "edge_weight", "service_time", "time_window",
        "vehicles_max_duration", "vehicles_allowed_clients", "vehicles_fixed_cost",
        "vehicles_unit_distance_cost",
    }
)  # fmt: skip


def _crew(document: dict[str, Any], visit: int) -> tuple[str, ...]:
    """Return the competence that stands for the set of vehicles that may make a visit."""
    if "vehicles_allowed_clients" not in document:
        return ()
    clients = document["vehicles_allowed_clients"]
    able = [
        str(number) for number, theirs in enumerate(clients) if visit + 1 in set(map(int, theirs))
    ]
    return ("-".join(able),)


def _vehicles(document: dict[str, Any], depot_id: str, scale: float) -> tuple[RouteVehicle, ...]:
    count = int(document["vehicles"])
    crews = {word for visit in range(1, len(document["demand"])) for word in _crew(document, visit)}
    fixed = document.get("vehicles_fixed_cost", [0] * count)
    # A unit cost is hundredths where it is given.
    unit = document.get("vehicles_unit_distance_cost", [100] * count)
    longest = np.broadcast_to(document.get("vehicles_max_duration", np.inf), count)
    opens, closes = _MONDAY, _MONDAY + _FOREVER
    if "time_window" in document:
        opens = _at(document["time_window"][0][0], scale)
        closes = _at(document["time_window"][0][1], scale)
    return tuple(
        RouteVehicle(
            vehicle_id=f"bench/vehicle-{number:04d}",
            start_depot_id=depot_id,
            end_depot_id=depot_id,
            shift_from=opens,
            shift_to=closes,
            max_duration_s=None if np.isinf(longest[number]) else float(longest[number]) * scale,
            capacity=float(document["capacity"][number]),
            competences=tuple(word for word in crews if str(number) in word.split("-")),
            fixed_dkk=float(fixed[number]) / 100,
            dkk_per_km=float(unit[number]) * 10,
        )
        for number in range(count)
    )


def _visits(document: dict[str, Any], scale: float) -> tuple[Visit, ...]:
    count = len(document["demand"])
    service = document.get("service_time", np.zeros(count))
    windows = document.get("time_window")
    return tuple(
        Visit(
            visit_id=f"bench/visit-{number:04d}",
            lat=float(document["node_coord"][number][0]) * _DEGREES,
            lon=float(document["node_coord"][number][1]) * _DEGREES,
            earliest_at=_MONDAY if windows is None else _at(windows[number][0], scale),
            latest_at=_MONDAY + _FOREVER if windows is None else _at(windows[number][1], scale),
            service_s=float(service[number]) * scale,
            demand=float(document["demand"][number]),
            competences=_crew(document, number),
            unserved_dkk=_UNSERVED_DKK,
        )
        for number in range(1, count)
    )


def _at(time: float, scale: float) -> datetime:
    return _MONDAY + timedelta(seconds=float(time) * scale)
