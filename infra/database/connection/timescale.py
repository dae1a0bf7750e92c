"""The one place where TimescaleDB and plain PostgreSQL differ.

`choose()` looks whether the extension can be had and returns the matching way to build. Queries
and dashboards never ask: the tables, keys and names are the same with both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from sqlalchemy import Connection, text

CALENDAR_TIMEZONE: Final = "Europe/Copenhagen"
"""Days, weeks and months begin at local midnight; a day can have 23 or 25 hours."""

_BUCKETS: Final = ("day", "week", "month")

_MEASURES: Final = (
    "driving_s",
    "idling_s",
    "parked_s",
    "offline_s",
    "distance_m",
    "trip_count",
    "fuel_l",
    "energy_kwh",
    "co2e_kg",
)
"""What the rollups began with; what came later stands after them."""


def _sums(more: Sequence[str]) -> str:
    return ", ".join(f"sum({name}) AS {name}" for name in (*_MEASURES, *more))


class TimeSeriesDatabase(Protocol):
    """What a migration may ask for; a plain database grants what it can."""

    def hypertable(self, table: str, column: str, *, chunk: str) -> None:
        """Partition an empty table by time, in chunks of the given interval."""

    def columnstore(self, table: str, *, segment_by: str, order_by: str, after: str) -> None:
        """Compress chunks older than the given interval."""

    def retention(self, table: str, *, keep: str) -> None:
        """Drop chunks older than the given interval."""

    def usage_rollups(self) -> None:
        """Create `usage_day`, `usage_week` and `usage_month`: `usage_hour` by local calendar."""

    def more_in_rollups(self, more: Sequence[str]) -> None:
        """Sum up further columns of `usage_hour`, at the end. `more` are all beyond the first.

        Views that rest on the rollups stay, and so do rights on them.
        """

    def usage_parts(self, more: Sequence[str]) -> None:
        """Create or replace `usage_part`: what the rollups are summed up from.

        `since` is the instant from which a part counts, a column with an index or chunks: never
        more than a day before the part's `local_day` begins, and before that day's end.
        """


class Timescale:
    """Hypertables, policies and continuous aggregates."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _run(self, statement: str) -> None:
        self._connection.execute(text(statement))

    def hypertable(self, table: str, column: str, *, chunk: str) -> None:
        """Partition an empty table by time."""
        self._run(f"SELECT create_hypertable('{table}', by_range('{column}', INTERVAL '{chunk}'))")

    def columnstore(self, table: str, *, segment_by: str, order_by: str, after: str) -> None:
        """Keep recent chunks as rows and older ones in the columnstore."""
        self._run(
            f"ALTER TABLE {table} SET (timescaledb.enable_columnstore, "
            f"timescaledb.segmentby = '{segment_by}', timescaledb.orderby = '{order_by}')"
        )
        self._run(f"CALL add_columnstore_policy('{table}', after => INTERVAL '{after}')")

    def retention(self, table: str, *, keep: str) -> None:
        """Drop old chunks by a background job."""
        self._run(f"SELECT add_retention_policy('{table}', drop_after => INTERVAL '{keep}')")

    def usage_rollups(self) -> None:
        """Create the continuous aggregate `usage_day_part`, and the rollups as views of it.

        A part is what a UTC day and a local day share, so that its bucket has a fixed width: with
        buckets in a time zone a refresh misses some around a change of the clock (tried on 2.23,
        and timescaledb issue 10296). What is not materialised yet is computed when it is asked
        for; a change to what is materialised shows with the policy's next run.
        """
        self._parts("usage_day_part", ())
        self._views("usage_day_part", ())

    def more_in_rollups(self, more: Sequence[str]) -> None:
        """Build another continuous aggregate and have the rollups rest on it.

        A continuous aggregate takes no further columns. The new one is filled by its policy's next
        run; until then it is computed when it is asked for.
        """
        self._parts("usage_day_part_more", more)
        self._views("usage_day_part_more", more)
        self._usage_parts("usage_day_part_more", more)
        self._run("DROP MATERIALIZED VIEW usage_day_part")
        self._run("ALTER MATERIALIZED VIEW usage_day_part_more RENAME TO usage_day_part")

    def usage_parts(self, more: Sequence[str]) -> None:
        """Create or replace the view of the continuous aggregate."""
        self._usage_parts("usage_day_part", more)

    def _usage_parts(self, parts: str, more: Sequence[str]) -> None:
        self._run(
            "CREATE OR REPLACE VIEW usage_part AS SELECT vehicle_id, utc_day AS since, local_day, "
            f"{', '.join((*_MEASURES, *more))} FROM {parts}"
        )

    def _parts(self, name: str, more: Sequence[str]) -> None:
        self._run(
            f"CREATE MATERIALIZED VIEW {name} "
            "WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS "
            "SELECT vehicle_id, time_bucket(INTERVAL '1 day', hour) AS utc_day, "
            f"(hour AT TIME ZONE '{CALENDAR_TIMEZONE}')::date AS local_day, {_sums(more)} "
            "FROM usage_hour GROUP BY 1, 2, 3 WITH NO DATA"
        )
        # No start: a replay of last year's fixes must reach the rollups too. Only ranges that were
        # written to since the last run are computed again, so that a quiet history costs nothing.
        self._run(
            f"SELECT add_continuous_aggregate_policy('{name}', start_offset => NULL, "
            "end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '10 minutes')"
        )

    def _views(self, parts: str, more: Sequence[str]) -> None:
        for bucket in _BUCKETS:
            self._run(
                f"CREATE OR REPLACE VIEW usage_{bucket} AS SELECT vehicle_id, "
                f"date_trunc('{bucket}', local_day::timestamp) AT TIME ZONE '{CALENDAR_TIMEZONE}' "
                f"AS {bucket}, {_sums(more)} FROM {parts} GROUP BY 1, 2"
            )


class PlainPostgres:
    """Ordinary tables and views of the same names and columns; policies do not exist."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hypertable(self, table: str, column: str, *, chunk: str) -> None:
        """Leave the table ordinary, with an index by time as a hypertable has."""
        del chunk
        self._connection.execute(text(f"CREATE INDEX {table}_{column}_idx ON {table} ({column})"))

    def columnstore(self, table: str, *, segment_by: str, order_by: str, after: str) -> None:
        """Do nothing: plain PostgreSQL has no columnstore."""

    def retention(self, table: str, *, keep: str) -> None:
        """Do nothing: on plain PostgreSQL `fleetpulse prune` deletes what is too old."""

    def usage_rollups(self) -> None:
        """Create ordinary views of `usage_hour`."""
        self.more_in_rollups(())

    def more_in_rollups(self, more: Sequence[str]) -> None:
        """Replace the views by ones with further columns."""
        for bucket in _BUCKETS:
            self._connection.execute(
                text(
                    f"CREATE OR REPLACE VIEW usage_{bucket} AS SELECT vehicle_id, "
                    f"date_trunc('{bucket}', hour, '{CALENDAR_TIMEZONE}') AS {bucket}, "
                    f"{_sums(more)} FROM usage_hour GROUP BY 1, 2"
                )
            )
        self.usage_parts(more)

    def usage_parts(self, more: Sequence[str]) -> None:
        """Create or replace the view of the hours: a zone's days begin and end with one."""
        self._connection.execute(
            text(
                "CREATE OR REPLACE VIEW usage_part AS SELECT vehicle_id, hour AS since, "
                f"(hour AT TIME ZONE '{CALENDAR_TIMEZONE}')::date AS local_day, "
                f"{', '.join((*_MEASURES, *more))} FROM usage_hour"
            )
        )


def choose(connection: Connection) -> TimeSeriesDatabase:
    """Return TimescaleDB's way where the extension can be had, else plain PostgreSQL's.

    The extension is created when the server offers it. A server that offers it but does not let
    us create it is an error of the server's set-up and is raised, not papered over.
    """
    offered = connection.execute(
        text("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'")
    ).scalar_one()
    if not offered:
        return PlainPostgres(connection)
    connection.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
    return Timescale(connection)
