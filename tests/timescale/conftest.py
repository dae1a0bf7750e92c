"""A real TimescaleDB: the server that `TEST_TIMESCALE_DSN` names, or one compiled to WebAssembly.

The latter has a single session, whatever the number of connections, and knows no `COPY FROM`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from infra.database.connection.migrate import migrate
from infra.embedded.process import free_port
from infra.embedded.reaper import Reaper
from tests.sample_fleet import Connection

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "pglite"
SOURCES = ("package.json", "package-lock.json", "server.js")


def unavailable(reason: str) -> None:
    """Skip, or fail where the real database is required."""
    if os.environ.get("FLEETPULSE_REQUIRE_TIMESCALE") == "1":
        pytest.fail(f"{reason}, and FLEETPULSE_REQUIRE_TIMESCALE=1 asks for a real TimescaleDB")
    pytest.skip(f"no real TimescaleDB: {reason}")


def install() -> str:
    """Install the packages of the lock file where they are missing; return the path of node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        unavailable("node and npm are not installed")
        raise AssertionError("unreachable")
    CACHE.mkdir(parents=True, exist_ok=True)
    stamp = CACHE / "installed"
    lock = (HERE / "package-lock.json").read_text()
    for name in SOURCES:
        shutil.copyfile(HERE / name, CACHE / name)
    if not stamp.exists() or stamp.read_text() != lock:
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", f"--cache={CACHE.with_name('npm')}"],
            cwd=CACHE,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            unavailable(f"npm ci ended with code {done.returncode}: {done.stderr[-500:]}")
        stamp.write_text(lock)
    return node


@pytest.fixture(scope="session")
def timescale_url(reaper: Reaper) -> Iterator[str]:
    """Yield a superuser's connection to a migrated database of a real TimescaleDB."""
    given = os.environ.get("TEST_TIMESCALE_DSN")
    if given:
        name = f"fleetpulse_timescale_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(given, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
            )
            url = given.rsplit("/", 1)[0] + f"/{name}"
            migrate(url)
            yield url
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )
        return
    node, port = install(), free_port()
    with subprocess.Popen(
        [node, "server.js", str(port)],
        cwd=CACHE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as server:
        reaper.watch(server.pid)
        assert server.stdout is not None
        text = server.stdout.readline()
        assert text == b"listening\n", text + server.stdout.read()
        # It asks for a password and takes any.
        url = (
            f"postgresql://postgres:any@127.0.0.1:{port}/postgres"
            "?sslmode=disable&gssencmode=disable"
        )
        migrate(url)
        yield url
        server.terminate()


@pytest.fixture
def timescale(timescale_url: str) -> Iterator[Connection]:
    """Yield a connection; rows that a test leaves are removed after it."""
    with psycopg.connect(timescale_url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        yield connection
        # By name: in WebAssembly, RESET goes back to nobody.
        owner = sql.Identifier(connection.info.user)
        connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(owner))
        connection.execute("DEALLOCATE ALL")  # of other connections to the single session
        connection.execute("TRUNCATE municipality, fix, usage_hour CASCADE")
        connection.execute("CALL refresh_continuous_aggregate('usage_day_part', NULL, NULL)")
