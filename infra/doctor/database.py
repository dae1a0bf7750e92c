"""The database: reachable, migrated, with its extension and policies, roles and room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, dict_row

from infra.database.access.default_privileges import default_privileges
from infra.database.access.exposure import exposures
from infra.database.access.service_roles import Service
from infra.database.stream.progress import Partition
from infra.doctor.finding import Finding, fault, ok, warning
from infra.settings import Settings

_LIMIT_S: Final = 20.0
_CLOCK_WARNING_S: Final = 1.0
_CLOCK_FAULT_S: Final = 30.0
_OUTBOX_S: Final = 300.0
_TRANSACTION_S: Final = 3600.0


@dataclass(slots=True)
class DatabaseReport:
    """What was found, and what other checks need of the database."""

    findings: list[Finding] = field(default_factory=list)
    progress: Mapping[Partition, int] | None = None
    """None where the database is away or not migrated."""
    data_directory: str | None = None
    """Where the server keeps its data, if we may know."""


async def look_at_database(settings: Settings) -> DatabaseReport:
    """Return findings about the database; changes nothing."""
    report = DatabaseReport()
    address = conninfo_to_dict(settings.conninfo)
    where = f"{address.get('dbname')} at {address.get('host')}:{address.get('port') or 5432}"
    try:
        async with asyncio.timeout(_LIMIT_S):
            async with await AsyncConnection.connect(
                settings.conninfo, connect_timeout=5, application_name="fleetpulse doctor"
            ) as connection:
                await connection.set_read_only(True)
                report.findings.append(ok("database", f"{where} answers"))
                await _look(connection, report)
    except (psycopg.Error, OSError, TimeoutError) as away:
        text = " ".join(str(away).split()) or f"no answer within {_LIMIT_S:g} s"
        report.findings.append(
            fault("database", f"{where}: {text}", "start it, or set FLEETPULSE_DATABASE_URL")
        )
    return report


async def _look(connection: AsyncConnection[TupleRow], report: DatabaseReport) -> None:
    report.findings.append(await _clock(connection))
    revision = await _revision(connection)
    report.findings.append(revision)
    if revision.remedy:
        return  # without its tables there is nothing more to look at
    cursor = await connection.execute("SELECT topic, partition, next_offset FROM stream_progress")
    report.progress = {
        Partition(topic, partition): offset for topic, partition, offset in await cursor.fetchall()
    }
    report.findings += await _timescale(connection)
    report.findings += await _roles(connection)
    report.findings += await _catalogue(connection)
    report.findings += [
        warning("powers", power.what, power.remedy)
        for power in await default_privileges(connection)
    ]
    report.findings += await _waiting(connection)
    report.data_directory = await _data_directory(connection)


async def _rows(connection: AsyncConnection[TupleRow], query: str) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query)
        return await cursor.fetchall()


async def _clock(connection: AsyncConnection[TupleRow]) -> Finding:
    began = time.time()
    (row,) = await _rows(connection, "SELECT extract(epoch FROM clock_timestamp()) AS now")
    # Half of the way there and back is the best guess at when the server looked at its clock.
    ahead_s = float(row["now"]) - (began + time.time()) / 2
    text = f"the database's is {ahead_s:+.1f} s from this machine's"
    remedy = "run an NTP client, such as chrony, on both machines"
    if abs(ahead_s) > _CLOCK_FAULT_S:
        return fault("clocks", text, remedy)
    if abs(ahead_s) > _CLOCK_WARNING_S:
        return warning("clocks", text, remedy)
    return ok("clocks", text)


async def _revision(connection: AsyncConnection[TupleRow]) -> Finding:
    from infra.database.connection.migrate import newest_revision  # noqa: PLC0415 - SQLAlchemy is slow

    (row,) = await _rows(connection, "SELECT to_regclass('public.alembic_version') AS is_there")
    if row["is_there"] is None:
        return fault("schema", "the database has no tables of ours", "fleetpulse migrate")
    (row,) = await _rows(connection, "SELECT version_num FROM alembic_version")
    newest = newest_revision()
    if row["version_num"] != newest:
        return fault(
            "schema",
            f"the database is at revision {row['version_num']}, this program at {newest}",
            "fleetpulse migrate (with the newest program)",
        )
    return ok("schema", f"revision {newest}, the newest")


async def _timescale(connection: AsyncConnection[TupleRow]) -> list[Finding]:
    rows = await _rows(
        connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    if not rows:
        return [
            warning(
                "extension",
                "plain PostgreSQL: no columnstore, no policies; fine for a trial",
                "install TimescaleDB before the first migrate; until then run `fleetpulse prune` "
                "daily",
            )
        ]
    findings = [ok("extension", f"TimescaleDB {rows[0]['extversion']}")]
    jobs = await _rows(
        connection,
        "SELECT j.proc_name, j.hypertable_name, s.last_run_status, j.scheduled, s.total_failures "
        "FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s "
        "USING (job_id) WHERE j.hypertable_name IS NOT NULL",
    )
    if not jobs:
        findings.append(
            fault(
                "policies", "there are none", "restore a backup with its policies, see TimescaleDB"
            )
        )
    for job in jobs:
        name = f"{job['proc_name']} of {job['hypertable_name']}"
        if not job["scheduled"]:
            findings.append(
                warning(
                    "policies",
                    f"{name} is switched off",
                    "SELECT alter_job(..., scheduled => true)",
                )
            )
        elif job["last_run_status"] == "Failed":
            findings.append(
                fault(
                    "policies",
                    f"{name} failed in its last run ({job['total_failures']} times in all)",
                    "SELECT * FROM timescaledb_information.job_errors ORDER BY start_time DESC",
                )
            )
    if len(findings) == 1:
        findings.append(ok("policies", f"{len(jobs)} run"))
    return findings


async def _roles(connection: AsyncConnection[TupleRow]) -> list[Finding]:
    findings = []
    (me,) = await _rows(
        connection,
        "SELECT current_user AS name, rolsuper FROM pg_roles WHERE rolname = current_user",
    )
    if me["rolsuper"]:
        findings.append(
            warning(
                "roles",
                f"this command connects as {me['name']}, a superuser",
                "fleetpulse service-role grant commands, and connect as that role",
            )
        )
    services = await _rows(connection, "SELECT DISTINCT service FROM service_role")
    missing = [name.value for name in Service if name not in {row["service"] for row in services}]
    if missing:
        findings.append(
            warning(
                "roles",
                f"no role of its own for {', '.join(missing)}",
                f"fleetpulse service-role grant {' '.join(missing)}",
            )
        )
    return findings or [ok("roles", "each service has its own, none is a superuser's")]


async def _catalogue(connection: AsyncConnection[TupleRow]) -> list[Finding]:
    """Look at what the server tells every reader of dashboards beside its own rows."""
    exposed = await exposures(connection)
    ours = [exposure for exposure in exposed if exposure.closable]
    findings = [
        warning("catalogue", exposure.what, exposure.command)
        for exposure in exposed
        if not exposure.closable
    ]
    if ours:
        findings.append(
            warning(
                "catalogue",
                f"{len(ours)} things of the server tell readers of others: {ours[0].what}, ...",
                "fleetpulse migrate, once as a superuser",
            )
        )
    return findings or [ok("catalogue", "tells readers nothing of others")]


async def _waiting(connection: AsyncConnection[TupleRow]) -> list[Finding]:
    """Look at what waits for somebody: the outbox, dead letters, a transaction left open."""
    findings = []
    (outbox,) = await _rows(
        connection,
        "SELECT count(*) AS waiting, extract(epoch FROM now() - min(created_at)) AS oldest_s "
        "FROM outbox WHERE published_at IS NULL AND retry_at IS NULL",
    )
    if outbox["waiting"] and outbox["oldest_s"] > _OUTBOX_S:
        findings.append(
            fault(
                "outbox",
                f"{outbox['waiting']:,} messages wait, the oldest for {outbox['oldest_s']:.0f} s",
                "look at the workers' log for 'outbox waits'",
            )
        )
    else:
        findings.append(ok("outbox", f"{outbox['waiting']:,} messages wait"))
    (letters,) = await _rows(
        connection, "SELECT count(*) AS open FROM dead_letter WHERE replayed_at IS NULL"
    )
    if letters["open"]:
        findings.append(
            warning("dead letters", f"{letters['open']:,} are open", "fleetpulse dead-letters list")
        )
    else:
        findings.append(ok("dead letters", "none is open"))
    old = await _rows(
        connection,
        "SELECT usename, pid, extract(epoch FROM now() - xact_start) AS age_s "
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        f"AND xact_start < now() - INTERVAL '{_TRANSACTION_S:.0f} s' ORDER BY xact_start LIMIT 3",
    )
    findings += [
        warning(
            "transactions",
            f"{row['usename']} has one open for {row['age_s'] / 3600:.1f} h",
            f"SELECT pg_terminate_backend({row['pid']})",
        )
        for row in old
    ]
    return findings


async def _data_directory(connection: AsyncConnection[TupleRow]) -> str | None:
    (row,) = await _rows(
        connection,
        "SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') "
        "THEN current_setting('data_directory') END AS path",
    )
    path = row["path"]
    return None if path is None else str(path)
