"""Recorded vehicles through the whole stream, beside a batch computation that shares nothing.

What is pushed by `fleetpulse replay` through gateway, broker and worker must come out as the slow
reference of this folder computes it from the same files, read here once more.

`pytest tests/scenario/test_real_data.py -rP` prints the figures of both.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.database.fleet.api_keys import create_key
from infra.embedded.reaper import Reaper
from infra.kafka.client import create_topics
from infra.settings import Settings
from schemas.events.fix import Fix
from tests.database_contents import CALENDARS, OF_THE_DELIVERY, contents
from tests.processes import Service, environment, wait_for
from tests.scenario.batch_reference import Reference, compute
from tests.stream_harness import empty, open_pool

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
CABS = DATA / "cabs" / "cabs.csv.gz"
VAN = DATA / "tracked-van" / "events.jsonl.gz"

pytestmark = pytest.mark.skipif(not DATA.exists(), reason=f"recorded data are not at {DATA}")


def cab_fixes() -> dict[str, list[Fix]]:
    """Read the taxis: of two rows of one instant the one with the smaller position counts."""
    cabs: defaultdict[str, dict[datetime, Fix]] = defaultdict(dict)
    with gzip.open(CABS, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            fix = Fix(
                vehicle_id=f"recorded/{row['vehicle']}",
                recorded_at=datetime.fromisoformat(row["recorded_at"]),
                lat=float(row["lat"]),
                lon=float(row["lon"]),
            )
            other = cabs[fix.vehicle_id].get(fix.recorded_at)
            if other is None or (fix.lat, fix.lon) < (other.lat, other.lon):
                cabs[fix.vehicle_id][fix.recorded_at] = fix
    return {vehicle_id: list(fixes.values()) for vehicle_id, fixes in cabs.items()}


def van_fixes() -> dict[str, list[Fix]]:
    """Read the van: what all events of one position say together, ignition from its own events."""
    by_instant: defaultdict[datetime, dict[str, Any]] = defaultdict(dict)
    with gzip.open(VAN, "rt", encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            document = by_instant[datetime.fromisoformat(event["pos_time"])]
            document |= {
                "lat": event["lat"],
                "lon": event["lng"],
                "heading_deg": event["azimuth_deg"],
            }
            document["speed_mps"] = event["speed_kmh"] / 3.6
            if event["type"].startswith("ign-"):
                document["ignition"] = event["type"] == "ign-on"
    fixes = [
        Fix(vehicle_id="recorded/van-1", recorded_at=at, **document)
        for at, document in by_instant.items()
    ]
    return {"recorded/van-1": fixes}


@dataclass(frozen=True)
class Recording:
    """A file, the mapping that reads it, and how this test reads it."""

    file: Path
    mapping: str
    read: Callable[[], dict[str, list[Fix]]]


RECORDINGS = {
    "cabs": Recording(CABS, "cabspotting", cab_fixes),
    "van": Recording(VAN, "tracked-van", van_fixes),
}


def enter(settings: Settings) -> str:
    """Enter a municipality for the recorded vehicles; return a key for it."""

    async def main() -> str:
        await create_topics(settings.kafka)
        async with (
            open_pool(settings.database_url.get_secret_value()) as pool,
            pool.connection() as connection,
        ):
            await connection.execute(
                "INSERT INTO municipality (municipality_id, name, timezone) "
                "VALUES ('recorded', 'Recorded', 'UTC')"
            )
            return await create_key(connection, "recorded", "replay", history=True)

    return asyncio.run(main())


def replay(recording: Recording, url: str, key: str, settings: Settings) -> str:
    """Run the command to its end; return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli.main", *_command(recording, url)],
        env=environment(settings, FLEETPULSE_VENDOR_KEY=key),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _command(recording: Recording, url: str) -> list[str]:
    return ["replay", str(recording.file), "--mapping", recording.mapping, "--url", url]


def stored(settings: Settings) -> int:
    """Return how many fixes are in rows."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        row = connection.execute("SELECT count(*) FROM fix").fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True)
class Figures:
    """What a vehicle's timeline amounts to."""

    segments: int
    trips: int
    driven_km: float
    driving_s: float
    idling_s: float

    @classmethod
    def of(cls, reference: Reference) -> Figures:
        """Return the figures of the batch computation."""
        return cls(
            len(reference.segments),
            len(reference.trips),
            reference.driven_m / 1000,
            reference.total("driving").total_seconds(),
            reference.total("idling").total_seconds(),
        )

    def about(self) -> Figures:
        """Return them to the centimetre: sums of floats depend on their order."""
        return Figures(
            self.segments, self.trips, round(self.driven_km, 5), self.driving_s, self.idling_s
        )


def streamed(settings: Settings, vehicle_id: str) -> Figures:
    """Return the figures of the rows."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM segment WHERE vehicle_id = %(id)s), "
            "(SELECT count(*) FROM trip WHERE vehicle_id = %(id)s), "
            "sum(distance_m) / 1000, sum(driving_s), sum(idling_s) "
            "FROM usage_hour WHERE vehicle_id = %(id)s",
            {"id": vehicle_id},
        ).fetchone()
    assert row is not None
    return Figures(row[0], row[1], float(row[2]), float(row[3]), float(row[4]))


# The larger recording goes through Apache Kafka only: it takes a minute.
@pytest.mark.parametrize(
    ("kafka", "name"),
    [
        ("tansu", "van"),
        pytest.param("apache_kafka", "van", marks=pytest.mark.kafka),
        pytest.param("apache_kafka", "cabs", marks=pytest.mark.kafka),
    ],
    indirect=["kafka"],
)
def test_a_recording_comes_out_as_the_batch_computation_has_it(
    name: str, settings: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    recording = RECORDINGS[name]
    fixes = recording.read()
    key = enter(settings)
    with (
        Service("ingest", settings, reaper, tmp_path) as ingest,
        Service("worker", settings, reaper, tmp_path) as worker,
    ):
        ingest.wait_ready()
        text = replay(recording, ingest.url, key, settings)
        assert "rejected 0" in text
        wait_for(
            lambda: stored(settings) == sum(map(len, fixes.values())),
            limit_s=90,
            what="every fix is a row",
            who=(worker,),
        )
    for vehicle_id, its_fixes in fixes.items():
        whole = compute(its_fixes)  # slow and plain: once
        ours, theirs = streamed(settings, vehicle_id), Figures.of(whole)
        print(f"{vehicle_id}\n  stream {ours}\n  batch  {theirs}")  # noqa: T201 - with -rP
        assert ours.about() == theirs.about()
        assert _segments(settings, vehicle_id) == [
            (segment.state, segment.started_at, segment.ended_at) for segment in whole.segments
        ]


def _segments(settings: Settings, vehicle_id: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        return connection.execute(
            "SELECT state, started_at, ended_at FROM segment WHERE vehicle_id = %s "
            "ORDER BY started_at",
            [vehicle_id],
        ).fetchall()


@pytest.mark.parametrize(
    "kafka", [pytest.param("apache_kafka", marks=pytest.mark.kafka)], indirect=True
)
def test_a_worker_killed_during_a_replay_leaves_no_trace(
    settings: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    recording = RECORDINGS["cabs"]
    total = sum(map(len, recording.read().values()))
    key = enter(settings)
    slow = settings.model_copy(update={"worker_batch_messages": 3})
    with Service("ingest", settings, reaper, tmp_path) as ingest:
        ingest.wait_ready()
        with Service("worker", slow, reaper, tmp_path) as victim:
            pushing = subprocess.Popen(
                [sys.executable, "-m", "stream.cli.main", *_command(recording, ingest.url)],
                env=environment(settings, FLEETPULSE_VENDOR_KEY=key),
                stdout=subprocess.DEVNULL,
            )
            wait_for(lambda: stored(settings) > 0, limit_s=60, what="rows come", who=(victim,))
            victim.kill()
            at_kill = stored(settings)
            assert pushing.wait(90) == 0
        assert 0 < at_kill < total, "killed half-way"
        with Service("worker", slow, reaper, tmp_path) as successor:
            wait_for(
                lambda: stored(settings) == total,
                limit_s=60,
                what="the rest arrives",
                who=(successor,),
            )
        disturbed = asyncio.run(_rows(settings, then_empty=True))
        with Service("worker", settings, reaper, tmp_path) as undisturbed:
            wait_for(
                lambda: stored(settings) == total,
                limit_s=60,
                what="the whole log once more",
                who=(undisturbed,),
            )
    assert disturbed == asyncio.run(_rows(settings, then_empty=False))


async def _rows(settings: Settings, *, then_empty: bool) -> list[tuple[Any, ...]]:
    async with open_pool(settings.database_url.get_secret_value()) as pool:
        rows = await contents(pool, {**OF_THE_DELIVERY, **CALENDARS})
        if then_empty:
            await empty(pool)
        return rows
