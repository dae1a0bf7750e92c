"""What it costs that a reader learns nothing of others: each panel, three ways, in one run.

`python -m bench.readers` enters a year of three municipalities on an embedded PostgreSQL and asks
what a dashboard of one of them asks when it opens, for 28 days and for the year: through the
security-barrier views that readers had until revision 0019, through the functions that they have
now, and as plain SQL of an owner in a database that holds this municipality only. Processor time
of the backend, the least of several tries; with `--json` one flat object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from pydantic import SecretStr

from bench.readers_fill import MUNICIPALITIES, fill
from infra.database.access.readers import grant_reader
from infra.database.connection.migrate import migrate
from infra.database.connection.pool import make_pool
from infra.embedded.directory import Account, make_run_directory
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.reaper import Reaper
from infra.grafana.provision import DASHBOARDS
from infra.settings import Settings
from tests.grafana_sql import TimeRange, expand

DAYS: Final = 365
RANGES: Final = {"28d": timedelta(days=28), "year": timedelta(days=DAYS)}
OWN: Final = MUNICIPALITIES[0]
BARRIERS: Final = "0019"
"""The last revision at which readers had views."""

_PASSWORD: Final = "only for the bench"  # noqa: S105 - of a server that lives as long as the bench
_TYPES: Final = ("car", "van", "cargo_bike", "e_bike", "bike", "unknown")
_TIME: Final = {
    "idle_interval": "started_at",
    "usage_hour": "hour",
    "km_precision": "month",
}
_NESTED: Final = r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))+"
_CALL: Final = re.compile(rf"reader\.(?P<name>\w+)\((?P<bounds>{_NESTED})\)")

Connection = psycopg.Connection[TupleRow]


@dataclass(frozen=True)
class Way:
    """One way to ask: on which connection, and how a panel's SQL is written for it."""

    connection: Connection
    write: Callable[[str], str]


def without_functions(query: str) -> str:
    """Write calls as they were before: a view, and bounds on its column of time."""

    def view(call: re.Match[str]) -> str:
        since, until = call["bounds"].rsplit(",", 1)
        column = _TIME.get(call["name"], "day")
        return (
            f"(SELECT * FROM reader.{call['name']} WHERE {column} BETWEEN "
            f"({since})::timestamptz AND ({until})::timestamptz)"
        )

    return _CALL.sub(view, query)


def by_owner(query: str) -> str:
    """Ask the views without any filter by reader."""
    return without_functions(query).replace("reader.", "tenants.")


def panels() -> Iterator[tuple[str, str]]:
    """Yield title and SQL of every panel."""
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for entry in (panel, *panel.get("panels", ())):
                for target in entry.get("targets", ()):
                    yield entry["title"], target["rawSql"]


def cpu_s(pid: int) -> float:
    """Return the processor time of a process: to the nanosecond where the kernel tells it."""
    exact = Path(f"/proc/{pid}/schedstat")
    if exact.exists():
        return int(exact.read_text().split()[0]) / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def least_ms(way: Way, query: str, tries: int) -> tuple[float, list[TupleRow]]:
    """Return the backend's processor time in ms, and the rows."""
    pid = way.connection.info.backend_pid
    least, rows = float("inf"), []
    for _ in range(tries):
        before = cpu_s(pid)
        rows = way.connection.execute(query.encode()).fetchall()
        least = min(least, cpu_s(pid) - before)
    return 1000 * least, rows


def measure(ways: dict[str, Way], tries: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return ms by range, title and way. Raises `RuntimeError` where the ways differ in rows."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    choices = {
        "municipality": [OWN],
        "depot": ["none", *(f"{OWN}/d{number}" for number in range(1, 5))],
        "vehicle_type": list(_TYPES),
    }
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for label, width in RANGES.items():
        shown = TimeRange(now - width, now)
        for title, query in panels():
            costs: dict[str, float] = {}
            counts: dict[str, int] = {}
            for name, way in ways.items():
                asked = expand(way.write(query), shown=shown, variables=choices)
                costs[name], rows = least_ms(way, asked, tries)
                counts[name] = len(rows)
            if len(set(counts.values())) != 1:
                raise RuntimeError(f"{title}: the ways found {counts} rows")
            figures.setdefault(label, {})[title] = costs
            print(label, title, {k: round(v, 1) for k, v in costs.items()}, file=sys.stderr)
    return figures


@contextmanager
def server() -> Iterator[str]:
    """Yield the address of a server without the database's name."""
    with Reaper(make_run_directory(Account.current())) as reaper:
        postgres = EmbeddedPostgres(reaper.directory, reaper)
        try:
            yield postgres.url.rsplit("/", 1)[0]
        finally:
            postgres.stop()


def enter(url: str, municipalities: Sequence[str], *, vehicles: int, revision: str) -> None:
    """Create what is asked."""
    migrate(url, revision)
    start = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        for municipality in municipalities:
            fill(connection, municipality, start=start, days=DAYS, vehicles=vehicles)
        connection.execute("VACUUM ANALYZE")


def show_as_now(barrier: str, ours: str) -> None:
    """Let readers of views have what has been made for panels since, from the views they had."""
    names = (
        "SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = %s::regnamespace "
        "ORDER BY 1"
    )
    with psycopg.connect(ours) as now, psycopg.connect(barrier) as then:
        now.execute("SET search_path = ''")
        entries = {name for (name,) in then.execute(names, ["reader"])}
        for (name,) in now.execute(names, ["tenants"]).fetchall():
            if name in entries:
                continue
            [(query,)] = now.execute(
                "SELECT pg_get_viewdef(%s::regclass)", [f"tenants.{name}"]
            ).fetchall()
            then.execute(
                f"CREATE VIEW reader.{name} AS {query.replace('public.', 'reader.')}".encode()
            )


async def grant(url: str) -> None:
    """Create the reader of one municipality."""
    async with make_pool(Settings(database_url=SecretStr(url)), max_size=1) as pool:
        await grant_reader(pool, "bench_reader", [OWN], _PASSWORD)


def connect(url: str, user: str | None = None) -> Connection:
    """Connect as Grafana does; no workers beside the backend, which would not be counted."""
    given = {} if user is None else {"user": user, "password": _PASSWORD}
    connection = psycopg.connect(make_conninfo(url, **given), autocommit=True)
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET max_parallel_workers_per_gather = 0")
    return connection


def run(vehicles: int, tries: int) -> dict[str, float]:
    """Measure everything; return the figures."""
    with server() as base:
        barrier, ours, direct = (f"{base}/{name}" for name in ("barrier", "ours", "direct"))
        with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE barrier")
            connection.execute("CREATE DATABASE direct")
            enter(barrier, MUNICIPALITIES, vehicles=vehicles, revision=BARRIERS)
            connection.execute("CREATE DATABASE ours TEMPLATE barrier")
        migrate(ours)
        enter(direct, [OWN], vehicles=vehicles, revision="head")
        with psycopg.connect(ours) as connection:
            [(trips,)] = connection.execute("SELECT count(*) FROM trip").fetchall()
        show_as_now(barrier, ours)
        for url in (barrier, ours):
            asyncio.run(grant(url))
        with (
            connect(barrier, "bench_reader") as by_views,
            connect(ours, "bench_reader") as by_functions,
            connect(direct) as by_tables,
        ):
            ways = {
                "barrier": Way(by_views, without_functions),
                "ours": Way(by_functions, str),
                "direct": Way(by_tables, by_owner),
            }
            figures = measure(ways, tries)
    flat: dict[str, float] = {"trips": float(trips), "vehicles": 3.0 * vehicles}
    for label, titles in figures.items():
        for way in ways:
            flat[f"{way}_ms_{label}"] = sum(costs[way] for costs in titles.values())
            flat[f"worst_{way}_ms_{label}"] = max(costs[way] for costs in titles.values())
        for way in ("barrier", "direct"):
            flat[f"ours_to_{way}_{label}"] = flat[f"ours_ms_{label}"] / flat[f"{way}_ms_{label}"]
    return flat


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--vehicles", type=int, default=100, help="of each of three municipalities")
    parser.add_argument("--tries", type=int, default=3)
    options = parser.parse_args()
    figures = run(options.vehicles, options.tries)
    if options.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<28}{value:>14,.2f}")


if __name__ == "__main__":
    main()
