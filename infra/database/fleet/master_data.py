"""Master data of all municipalities as the stream needs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row
from pydantic import BaseModel, ValidationError

from infra.database.fleet.tracker_assignments import load_assignments
from infra.database.fleet.vendors import load_vendors
from schemas.errors import InternalError, UserError
from schemas.fleet.master_data import Assignment, Depot, Home, Municipality, Vehicle
from schemas.ids import local_part, municipality_of

Model = TypeVar("Model", bound=BaseModel)


class MasterDataError(InternalError):
    """What is stored of a municipality, depot or vehicle breaks the schema."""


class UnknownMunicipalityError(UserError):
    """A municipality that is not entered."""

    def __init__(self, municipality_id: str) -> None:
        super().__init__(
            f"municipality {municipality_id} is not entered; `fleetpulse fleet show` lists "
            "those that are, `fleetpulse fleet apply` enters more"
        )


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """Who there is: municipalities, their depots (by id), vehicles, those's homes, and trackers."""

    municipalities: Mapping[str, Municipality]
    depots: Mapping[str, tuple[Depot, ...]]
    vehicles: Mapping[str, Vehicle]
    homes: Mapping[str, tuple[Home, ...]]
    """Where each vehicle was at home and is, in order of time."""
    trackers: Mapping[str, tuple[Assignment, ...]]
    """Of trackers that were ever assigned, by the id that they send, in order of time."""
    tracker_revision: int
    """Grows with each change of an assignment, or of the vendors that may report an id."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why a municipality or vehicle is left out, by id: what is stored of it breaks the schema."""
    vendors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Who may report a vehicle, by the id that is sent; the first one counts."""
    _unknown: dict[str, Vehicle] = field(default_factory=dict, repr=False, compare=False)

    def vehicle(self, vehicle_id: str) -> Vehicle:
        """Return a vehicle; one that nobody has entered is of unknown type and consumption.

        Raises `MasterDataError` for one that cannot be read.
        """
        if vehicle_id in self.unreadable:
            raise MasterDataError(self.unreadable[vehicle_id])
        vehicle = self.vehicles.get(vehicle_id) or self._unknown.get(vehicle_id)
        if vehicle is None:
            vehicle = self._unknown[vehicle_id] = Vehicle(
                vehicle_id=vehicle_id,
                municipality_id=municipality_of(vehicle_id),
                name=local_part(vehicle_id),
            )
        return vehicle


async def load_fleet(
    connection: AsyncConnection[TupleRow], *, strict: bool = True
) -> FleetSnapshot:
    """Read the master data.

    Raises `pydantic.ValidationError` when what is stored breaks the schema, such as a rule of a
    municipality that does not exist. Unless `strict`: then the municipality, or the vehicle, is
    left out and named in `unreadable`, and the others are read. A depot is its municipality's.
    """
    unreadable: dict[str, str] | None = None if strict else {}
    municipalities = await _read_municipalities(connection, unreadable)
    depots: defaultdict[str, list[Depot]] = defaultdict(list)
    for row in await _rows(
        connection,
        "SELECT depot_id, municipality_id, name, lat, lon, radius_m, polygon, capacity, "
        "charger_count FROM depot ORDER BY depot_id",
    ):
        depot = _parsed(Depot, row, row["municipality_id"], unreadable)
        if depot is not None:
            depots[row["municipality_id"]].append(depot)
    vehicles: dict[str, Vehicle] = {}
    for row in await _rows(
        connection,
        "SELECT vehicle_id, municipality_id, name, vehicle_type, energy_source, "
        "consumption_per_km, yearly_cost_dkk, range_km, seats, home_depot_id, lease_ends_on, "
        "locked_until, in_service_until "
        "FROM vehicle",
    ):
        vehicle = _parsed(Vehicle, row, row["vehicle_id"], unreadable)
        if vehicle is not None:
            vehicles[vehicle.vehicle_id] = vehicle
    homes: defaultdict[str, list[Home]] = defaultdict(list)
    for row in await _rows(
        connection,
        "SELECT vehicle_id, depot_id, lower(during) AS since, upper(during) AS until "
        "FROM vehicle_home ORDER BY vehicle_id, during",
    ):
        homes[row["vehicle_id"]].append(Home(row["depot_id"], row["since"], row["until"]))
    tracker_revision, trackers = await load_assignments(connection)
    return FleetSnapshot(
        {
            owner_id: row
            for owner_id, row in municipalities.items()
            if owner_id not in (unreadable or ())
        },
        {municipality_id: tuple(rows) for municipality_id, rows in depots.items()},
        vehicles,
        {vehicle_id: tuple(rows) for vehicle_id, rows in homes.items()},
        trackers,
        tracker_revision,
        unreadable or {},
        await load_vendors(connection),
    )


async def load_municipalities(
    connection: AsyncConnection[TupleRow], only: str | None = None
) -> dict[str, Municipality]:
    """Read the municipalities alone, or one of them, by id. Raises as `load_fleet` does."""
    return await _read_municipalities(connection, None, only)


async def load_readable_municipalities(
    connection: AsyncConnection[TupleRow],
) -> tuple[dict[str, Municipality], dict[str, str]]:
    """Read the municipalities that can be read, by id, and why the others cannot."""
    unreadable: dict[str, str] = {}
    return await _read_municipalities(connection, unreadable), unreadable


async def _read_municipalities(
    connection: AsyncConnection[TupleRow],
    unreadable: dict[str, str] | None,
    only: str | None = None,
) -> dict[str, Municipality]:
    read: dict[str, Municipality] = {}
    for row in await _rows(
        connection,
        "SELECT municipality_id, name, timezone, rules, calendar, planning, costs "
        "FROM municipality "
        "WHERE %s::text IS NULL OR municipality_id = %s",
        [only, only],
    ):
        municipality = _parsed(Municipality, row, row["municipality_id"], unreadable)
        if municipality is not None:
            read[municipality.municipality_id] = municipality
    return read


def _parsed(
    model: type[Model], row: dict[str, Any], owner_id: str, unreadable: dict[str, str] | None
) -> Model | None:
    """Return a row as a model, or None after it was noted whose it is and what is wrong."""
    try:
        return model(**row)
    except ValidationError as error:
        if unreadable is None:
            raise
        unreadable[owner_id] = f"master data of {owner_id} cannot be read, correct them: {error}"
        return None


async def _rows(
    connection: AsyncConnection[TupleRow], query: str, given: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, given)
        return await cursor.fetchall()


async def newest_fixes(connection: AsyncConnection[TupleRow]) -> dict[str, datetime]:
    """Return the event time of each municipality, and never later than now.

    A tenth of its vehicles may be ahead of it: one clock that is fast must not make all others seem
    silent.
    """
    cursor = await connection.execute(
        "SELECT municipality_id, until FROM observed_span ORDER BY municipality_id"
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def add_unregistered(
    connection: AsyncConnection[TupleRow], vehicle_ids: Collection[str]
) -> None:
    """Enter vehicles that were seen in the stream; those that are there stay as they are."""
    ordered = sorted(vehicle_ids)  # one order for all writers: no deadlock
    await connection.execute(
        "INSERT INTO vehicle (vehicle_id, municipality_id, name, registered) "
        "SELECT id, split_part(id, '/', 1), split_part(id, '/', 2), false "
        "FROM unnest(%s::text[]) AS seen (id) ORDER BY id ON CONFLICT (vehicle_id) DO NOTHING",
        [ordered],
    )
