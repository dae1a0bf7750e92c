"""Recorded demand: the inputs of plans, follow-up and studies, read at one instant.

What belongs together is read as of one instant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from psycopg import sql
from psycopg.rows import dict_row

from infra.database.connection.pool import Connection
from infra.database.fleet.master_data import UnknownMunicipalityError, load_fleet
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, Vehicle
from schemas.fleet.policy import PlacementPolicy
from schemas.fleet.rules import Rules
from schemas.ids import MunicipalityId
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.journeys import DrivenRoundTrip, DrivenTrip, JourneyRows
from schemas.plans.outcome import WEEK_DAYS

# A part of one that was too long is demand of the depot where the vehicle was at home then,
# as with OS2fleetoptimiser: it began wherever the vehicle had rested.
_ROUND_TRIPS: Final = """
SELECT r.vehicle_id, r.started_at, r.ended_at, d.depot_id AS start_depot_id, r.end_depot_id,
       r.distance_m
FROM round_trip r
JOIN vehicle v USING (vehicle_id)
JOIN depot d ON d.municipality_id = v.municipality_id AND d.depot_id = coalesce(
    r.start_depot_id, CASE WHEN r.kind = 'over-long' THEN r.home_depot_id END)
WHERE v.municipality_id = %(municipality_id)s
  AND v.registered AND NOT r.is_open AND r.kind IN ('complete', 'one-way', 'over-long')
"""
_RECENT: Final = f"""
WITH ended AS ({_ROUND_TRIPS})
SELECT * FROM ended WHERE started_at >= (
    SELECT max(ended_at) FROM ended) - make_interval(days => %(horizon_days)s)
"""
_BETWEEN: Final = f"{_ROUND_TRIPS} AND r.started_at >= %(since)s AND r.started_at < %(until)s"
_SERVING: Final = """
SELECT vehicle_id FROM vehicle_in_service WHERE municipality_id = %(municipality_id)s
"""
_SERVING_THEN: Final = """
SELECT v.vehicle_id FROM vehicle v JOIN municipality m USING (municipality_id)
WHERE v.municipality_id = %(municipality_id)s
  AND coalesce(v.in_service_until >= (%(since)s AT TIME ZONE m.timezone)::date, true)
"""
_COMPLETE: Final = """
WITH ended AS (
    SELECT r.vehicle_id, r.started_at, r.ended_at, r.start_depot_id AS depot_id, r.home_depot_id,
           r.distance_m
    FROM round_trip r JOIN vehicle v USING (vehicle_id)
    WHERE v.municipality_id = %(municipality_id)s AND v.registered AND NOT r.is_open
      AND r.kind = 'complete'
), recent AS (
    SELECT * FROM ended WHERE started_at >= (
        SELECT max(ended_at) FROM ended) - make_interval(days => %(horizon_days)s)
)
"""
_TRIPS: Final = f"""{_COMPLETE}
SELECT r.vehicle_id, r.started_at AS left_at, t.started_at, t.ended_at, t.end_lat, t.end_lon
FROM recent r
JOIN trip t ON t.vehicle_id = r.vehicle_id AND t.started_at >= r.started_at
    AND t.ended_at <= r.ended_at AND NOT t.is_open
"""


async def require_municipality(connection: Connection, municipality_id: MunicipalityId) -> None:
    """Raise `UnknownMunicipalityError` unless a municipality is entered."""
    cursor = await connection.execute(
        "SELECT 1 FROM municipality WHERE municipality_id = %s", [municipality_id]
    )
    if await cursor.fetchone() is None:
        raise UnknownMunicipalityError(municipality_id)


async def read_inputs(
    connection: Connection,
    municipality_id: str,
    horizon_days: int,
    fallback: PlacementPolicy | None = None,
) -> PlacementInputs:
    """Read depots, vehicles and the round trips of the horizon, all of one instant.

    With a fallback the policy is the municipality's own, and the fallback in what it leaves open;
    without one there is no policy, as studies have none.

    Vehicles that nobody has entered are left out, and so is what they drove. What vehicles drove
    that are out of service today is demand; they themselves are `former_vehicles`. The horizon ends
    with the newest round trip that has ended, not with the clock: but for a last day in service
    that has passed meanwhile, the same rows are the same inputs whenever they are read, and a
    replayed year is planned like this one.
    Raises `UnknownMunicipalityError`, and `pydantic.ValidationError` for rows that break the
    schema.
    """
    given = {"municipality_id": municipality_id, "horizon_days": horizon_days}
    async with _of_one_instant(connection):
        inputs = await _read(connection, _RECENT, _SERVING, given)
        if fallback is None:
            return inputs
        own = await _rows(
            connection,
            "SELECT planning FROM municipality WHERE municipality_id = %(municipality_id)s",
            given,
        )
    policy = PlacementPolicy.model_validate(own[0]["planning"]).over(fallback)
    return inputs.model_copy(update={"policy": policy})


async def read_week(
    connection: Connection, municipality_id: str, since: datetime, until: datetime
) -> PlacementInputs:
    """Read the same with the round trips that began in a week and have ended. Raises likewise.

    Depots are those of now, and so are vehicles, with those that have left service since that
    week began.
    """
    given = {
        "municipality_id": municipality_id,
        "horizon_days": WEEK_DAYS,
        "since": since,
        "until": until,
    }
    async with _of_one_instant(connection):
        return await _read(connection, _BETWEEN, _SERVING_THEN, given)


async def read_journeys(
    connection: Connection, municipality_id: str, horizon_days: int
) -> JourneyRows:
    """Read complete round trips with their trips, depots and vehicles, all of one instant.

    Vehicles that nobody has entered are left out, and so is what they drove. The horizon ends with
    the newest round trip that has ended, not with the clock: the same rows are the same journeys
    whenever they are read. Raises `UnknownMunicipalityError`, and `pydantic.ValidationError` for
    rows that break the schema.
    """
    given = {"municipality_id": municipality_id, "horizon_days": horizon_days}
    async with _of_one_instant(connection):
        fleet = await load_fleet(connection)
        round_trips = await _rows(connection, f"{_COMPLETE} SELECT * FROM recent", given)
        trips = await _rows(connection, _TRIPS, given)
    if municipality_id not in fleet.municipalities:
        raise UnknownMunicipalityError(municipality_id)
    within: defaultdict[tuple[str, datetime], list[DrivenTrip]] = defaultdict(list)
    for row in trips:
        within[row.pop("vehicle_id"), row.pop("left_at")].append(DrivenTrip(**row))
    wanted = sorted({row["vehicle_id"] for row in round_trips})
    return JourneyRows(
        municipality_id=municipality_id,
        costs=fleet.municipalities[municipality_id].costs,
        timezone=fleet.municipalities[municipality_id].timezone,
        horizon_days=horizon_days,
        depots=fleet.depots.get(municipality_id, ()),
        vehicles=tuple(fleet.vehicles[vehicle_id] for vehicle_id in wanted),
        round_trips=tuple(
            DrivenRoundTrip(**row, trips=tuple(within[row["vehicle_id"], row["started_at"]]))
            for row in round_trips
        ),
    )


@asynccontextmanager
async def _of_one_instant(connection: Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


async def _read(
    connection: Connection, round_trips_query: str, serving_query: str, given: dict[str, Any]
) -> PlacementInputs:
    municipality_id = given["municipality_id"]
    municipality = await _rows(
        connection,
        "SELECT timezone, rules, costs FROM municipality "
        "WHERE municipality_id = %(municipality_id)s",
        given,
    )
    depots = await _rows(connection, _all_of("depot", Depot), given)
    # Who was only seen in the stream is nobody's to place: it may be a vendor's mistake.
    rows = await _rows(connection, _all_of("vehicle", Vehicle) + sql.SQL(" AND registered"), given)
    vehicles = [Vehicle(**row) for row in rows]
    serving = {row["vehicle_id"] for row in await _rows(connection, serving_query, given)}
    round_trips = await _rows(connection, round_trips_query, given)
    drove = {row["vehicle_id"] for row in round_trips}
    if not municipality:
        raise UnknownMunicipalityError(municipality_id)
    return PlacementInputs(
        municipality_id=municipality_id,
        costs=Costs.model_validate(municipality[0]["costs"]),
        timezone=municipality[0]["timezone"],
        horizon_days=given["horizon_days"],
        round_trip_max_s=Rules.model_validate(municipality[0]["rules"]).round_trip_max_s,
        depots=tuple(Depot(**row) for row in depots),
        vehicles=tuple(vehicle for vehicle in vehicles if vehicle.vehicle_id in serving),
        former_vehicles=tuple(
            vehicle for vehicle in vehicles if vehicle.vehicle_id in drove - serving
        ),
        round_trips=tuple(ObservedRoundTrip(**row) for row in round_trips),
    )


def _all_of(table: str, model: type[Depot | Vehicle]) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {} WHERE municipality_id = %(municipality_id)s").format(
        sql.SQL(", ").join(map(sql.Identifier, model.model_fields)), sql.Identifier(table)
    )


async def _rows(
    connection: Connection, query: str | sql.Composed, given: dict[str, Any]
) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, given)
        return await cursor.fetchall()
