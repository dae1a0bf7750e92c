"""Relations of schema `reader`: each shows the rows of the session's own municipalities (law 4).

What a dashboard may know of all municipalities is a view in schema `tenants`, which no reader may
use. `publish` puts a function in front of it that returns only what belongs to the municipalities
of `session_user`, and a view of the function. A reader's plan ends at the function: whatever it
asks, its estimates are constants and its rows its own. See ADR 25.
"""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import Connection, text

TenantKey = Literal["municipality_id", "vehicle_id"]

_NO_TIME: Final = 500
_OVER_TIME: Final = 10_000
"""Rows that a planner expects of every function: an estimate of what is there would tell it."""

# Nothing that a session sets reaches the queries within: names mean ours, whatever is logged stays
# on the server, and rows are found by keys, so that what is read does not grow with others' rows.
_SETTINGS: Final = {
    "search_path": "pg_catalog, pg_temp",
    "client_min_messages": "error",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_bitmapscan": "on",
    "enable_nestloop": "on",
    "enable_hashjoin": "on",
    "enable_hashagg": "on",
    "enable_sort": "on",
    "enable_material": "on",
    "enable_memoize": "on",
    "seq_page_cost": "1",
    "random_page_cost": "1.1",
    "cpu_tuple_cost": "0.01",
    "cpu_index_tuple_cost": "0.005",
    "cpu_operator_cost": "0.0025",
    "jit": "off",
}

_FUNCTION: Final = """
CREATE FUNCTION reader.{name}({parameters}) RETURNS SETOF tenants.{name}
    LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS {rows}
    {settings}
AS $body$
DECLARE
    own_municipalities text[] := ARRAY(
        SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = session_user);
    own_vehicles text[];
BEGIN
    {bounds}{vehicles}
    RETURN QUERY {query};
END $body$
"""

# TimescaleDB calculates with bounds, and not with infinite ones.
_BOUNDS: Final = """since := greatest(since, '0001-01-01 00:00:00+00');
    until := least(until, '9999-12-31 00:00:00+00');
    """
# By their ids and not by the range of ids that begin alike: text is ordered as the database's
# locale has it. A key that begins with the vehicle is then asked once for each, within the time.
_VEHICLES: Final = """own_vehicles := ARRAY(
        SELECT v.vehicle_id FROM public.vehicle v WHERE v.municipality_id = ANY (own_municipalities)
        ORDER BY v.vehicle_id);"""
_OWN: Final = {"municipality_id": "own_municipalities", "vehicle_id": "own_vehicles"}


def publish(
    connection: Connection,
    name: str,
    *,
    key: TenantKey = "municipality_id",
    time: str | None = None,
    query: str | None = None,
) -> None:
    """Let readers have `tenants.<name>` as `reader.<name>`, in place of what had that name.

    With a column `time`, the function takes the first and the last instant that it may have, both
    included, null for none, and the view shows all time. `query` is asked instead where bounds do
    not reach below the sums of a view: `$1` and `$2` are the instants, `own_vehicles` and
    `own_municipalities` arrays.
    `migrate` gives readers their rights on it.
    """
    own = f"t.{key} = ANY ({_OWN[key]})"
    if query is None:
        within = "" if time is None else f" AND t.{time} BETWEEN $1 AND $2"
        query = f"SELECT t.* FROM tenants.{name} t WHERE {own}{within}"
    parameters = "" if time is None else "since timestamptz, until timestamptz"
    for statement in (
        f"DROP VIEW IF EXISTS reader.{name}",
        f"DROP FUNCTION IF EXISTS reader.{name}({parameters})",
        _FUNCTION.format(
            name=name,
            parameters=parameters,
            rows=_NO_TIME if time is None else _OVER_TIME,
            settings="\n    ".join(f"SET {key} = {value}" for key, value in _SETTINGS.items()),
            bounds="" if time is None else _BOUNDS,
            vehicles=_VEHICLES if "own_vehicles" in query else "",
            query=query,
        ),
        f"REVOKE ALL ON FUNCTION reader.{name}({parameters}) FROM PUBLIC",
        f"CREATE VIEW reader.{name} AS SELECT * FROM reader.{name}"
        + ("()" if time is None else "('-infinity', 'infinity')"),
    ):
        connection.exec_driver_sql(statement.replace("%", "%%"))


def columns(connection: Connection, relation: str) -> list[str]:
    """Return the names of a relation's columns, in order."""
    return list(
        connection.execute(
            text(
                "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:relation AS regclass) "
                "AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
            ),
            {"relation": relation},
        ).scalars()
    )
