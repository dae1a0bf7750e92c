"""A municipality leaves: its data are exported and erased, and nobody else's are touched."""

from __future__ import annotations

import csv
import gzip
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from infra.database.operations.municipality_data import SHARED
from tests.processes import command
from tests.sample_fleet import fill

LEAVES: Final = "leaving"
STAYS: Final = ("leaving-not", "leaving2", "staying")
"""Ids of which two begin like the other one's."""
START: Final = datetime(2026, 3, 2, tzinfo=UTC)

Owner = psycopg.Connection[TupleRow]


@pytest.fixture
def owner(database_url: str) -> Iterator[Owner]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        for municipality_id in (LEAVES, *STAYS):
            fill(connection, municipality_id, start=START, days=3)
            _fill_the_rest(connection, municipality_id)
        yield connection


def _fill_the_rest(connection: Owner, owner_id: str) -> None:
    """Put a row into each table that the sample fleet leaves empty."""
    run, vehicle = connection.execute, f"{owner_id}/car-1"
    run("INSERT INTO fix VALUES (%s, %s, %s, 56, 10)", [vehicle, START, START])
    run("INSERT INTO vehicle_checkpoint VALUES (%s, %s, '{}')", [vehicle, START])
    run("INSERT INTO vehicle_vendor VALUES (%s, 'vendor', 1)", [vehicle])
    run("INSERT INTO calendar_kept VALUES (%s, %s)", [owner_id, "0" * 64])
    run("INSERT INTO reader_access VALUES ('postgres', %s)", [owner_id])
    run(
        "INSERT INTO api_key (key_hash, key_prefix, municipality_id, vendor) "
        "VALUES (%s, 'fp_abcdef', %s, 'vendor')",
        [uuid.uuid4().bytes * 2, owner_id],
    )
    run(
        "INSERT INTO plan_request (request_id, municipality_id, requested_by) "
        "VALUES (%s, %s, 'somebody')",
        [uuid.uuid4(), owner_id],
    )
    run(
        "INSERT INTO outbox (message_id, topic, key, payload) VALUES (%s, 't', %s, %s)",
        [uuid.uuid4(), vehicle, Jsonb({"municipality_id": owner_id})],
    )
    message = json.dumps({"municipality_id": owner_id}, separators=(",", ":")).encode() + b"\xff"
    for named in ([owner_id, vehicle], [None, None]):
        run(
            "INSERT INTO dead_letter (dead_letter_id, reason, detail, topic, partition, "
            "record_offset, message_value, municipality_id, vehicle_id) "
            "VALUES (%s, 'bad-fix', 'why', 't', 0, 1, %s, %s, %s)",
            [uuid.uuid4(), message, *named],
        )


def tables(owner: Owner) -> list[str]:
    rows = owner.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p') ORDER BY 1"
    )
    return [row[0] for row in rows.fetchall()]


def mentioning(owner: Owner, municipality_id: str) -> dict[str, list[str]]:
    """Return all rows, as text, in which an id or a message names a municipality, by table."""
    rows_of: dict[str, list[str]] = {}
    for table in tables(owner):
        rows = owner.execute(
            sql.SQL(
                "SELECT t::text FROM {} t WHERE t::text ~ %s OR t::text ~ %s ORDER BY 1"
            ).format(sql.Identifier(table)),
            [rf"\m{municipality_id}(?![-a-z0-9])", f'"{municipality_id}"'.encode().hex()],
        ).fetchall()
        if rows:
            rows_of[table] = [row[0] for row in rows]
    return rows_of


def test_every_row_of_the_one_that_leaves_goes_and_no_other(
    owner: Owner, database_url: str
) -> None:
    before = {owner_id: mentioning(owner, owner_id) for owner_id in (LEAVES, *STAYS)}
    assert before[LEAVES].keys() == set(tables(owner)) - SHARED, "no table is left untried"
    done = command(
        "municipality", "erase", LEAVES, "--confirm", LEAVES, FLEETPULSE_DATABASE_URL=database_url
    )
    assert done.returncode == 0, done.stderr
    assert mentioning(owner, LEAVES) == {}
    for owner_id in STAYS:
        assert mentioning(owner, owner_id) == before[owner_id]
    again = command(
        "municipality", "erase", LEAVES, "--confirm", LEAVES, FLEETPULSE_DATABASE_URL=database_url
    )
    assert again.returncode == 0, again.stderr


def test_nothing_is_erased_without_the_id_said_twice(owner: Owner, database_url: str) -> None:
    before = mentioning(owner, LEAVES)
    done = command(
        "municipality",
        "erase",
        LEAVES,
        "--confirm",
        "leavign",
        FLEETPULSE_DATABASE_URL=database_url,
    )
    assert done.returncode == 2
    assert "nothing was deleted" in done.stderr
    assert mentioning(owner, LEAVES) == before


def test_the_export_has_every_row_of_one_municipality_and_no_key(
    owner: Owner, database_url: str, tmp_path: Path
) -> None:
    to = tmp_path / "export"
    done = command(
        "municipality", "export", LEAVES, "--to", str(to), FLEETPULSE_DATABASE_URL=database_url
    )
    assert done.returncode == 0, done.stderr
    rows = {}
    for path in to.glob("*.csv.gz"):
        with gzip.open(path, "rt", newline="") as file:
            rows[path.name.removesuffix(".csv.gz")] = list(csv.DictReader(file))
    of_database = {table: len(lines) for table, lines in mentioning(owner, LEAVES).items()}
    assert {table: len(lines) for table, lines in rows.items()} == of_database
    assert "key_hash" not in rows["api_key"][0]
    text = json.dumps(rows)
    assert not any(f"{owner_id}/" in text for owner_id in STAYS)
    manifest = json.loads((to / "manifest.json").read_text())
    assert manifest["rows"] == of_database
    assert manifest["municipality_id"] == LEAVES
    assert to.stat().st_mode & 0o077 == 0
    again = command(
        "municipality", "export", LEAVES, "--to", str(to), FLEETPULSE_DATABASE_URL=database_url
    )
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_an_unknown_municipality_has_no_export(
    owner: Owner, database_url: str, tmp_path: Path
) -> None:
    del owner
    done = command(
        "municipality", "export", "nobody", "--to", str(tmp_path / "x"),
        FLEETPULSE_DATABASE_URL=database_url,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nothing is stored of municipality 'nobody'" in " ".join(done.stderr.split())
