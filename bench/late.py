"""What late fixes cost the worker: in a vehicle of 1 Hz, beside an ordinary batch of the same run.

`python -m bench.late` prints figures, with `--json` one flat object. All in CPU seconds of
writing, in this process and in the database, on embedded servers of its own. An ordinary batch is
one message of 500 fixes, as a gateway sends it; a late fix comes alone in its message, and in its
transaction.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg

from bench import traffic
from bench.installation import Bench, children_cpu_s
from infra.database.connection.migrate import migrate
from infra.database.connection.pool import make_pool
from infra.database.stream.progress import Partition
from infra.embedded.servers import EmbeddedServers
from infra.kafka.client import Topics, Watermarks
from infra.settings import Settings
from stream.worker import metrics
from stream.worker.decode.records import Record
from stream.worker.write.writer import Writer

_SECOND: Final = timedelta(seconds=1)
_HOURS: Final = 8
"""Of one vehicle, each second: a shift."""
_OUT_S: Final = 1_200
_STOP_S: Final = 400
"""Out for twenty minutes, a stop, back, and as long at the depot."""
_BUFFERED: Final = 1_000
_LATE: Final = 24
_BATCHES: Final = 40
_UPLOADS: Final = traffic.MESSAGE_FIXES // traffic.UPLOAD_FIXES

Batch = Sequence[list[dict[str, Any]]]
"""Messages that are written in one transaction."""


def every_second(name: str, start: datetime, *, depot_lat: float) -> Iterator[dict[str, Any]]:
    """Yield the fixes of a vehicle that says each second where it is, without end.

    Each is off by some metres, and without an odometer, so that one fix more or less changes the
    kilometres of all that is underway.
    """
    rng = random.Random(name)
    at, second, lat = start, 0, depot_lat
    period = 2 * (_OUT_S + _STOP_S)
    while True:
        phase = second % period
        back = phase >= _OUT_S + _STOP_S
        driving = phase % (_OUT_S + _STOP_S) < _OUT_S
        if driving:
            lat += -0.0001 if back else 0.0001
        yield {
            "vehicle_id": f"{traffic.MUNICIPALITY}/{name}",
            "recorded_at": at,
            "lat": round(lat + rng.gauss(0, 0.00001), 6),
            "lon": round(10.4 + rng.gauss(0, 0.00002), 6),
            "speed_mps": 11.13 if driving else 0.0,
            "ignition": driving,
        }
        at += _SECOND
        second += 1


class Cost(NamedTuple):
    """CPU seconds of some writes: in this process of each, in the database on the average."""

    program_s: list[float]
    database_s: float

    @property
    def median_s(self) -> float:
        """Of one that is neither cheap nor dear."""
        return statistics.median(self.program_s) + self.database_s

    @property
    def max_s(self) -> float:
        """Of the dearest one."""
        return max(self.program_s) + self.database_s

    @property
    def sum_s(self) -> float:
        """Of all."""
        return sum(self.program_s) + len(self.program_s) * self.database_s


class _Log:
    """A partition that is written message by message, and what each costs."""

    def __init__(self, writer: Writer, topics: Topics) -> None:
        self._writer = writer
        self._place = Partition(topics.fixes, 0)
        self._offset = 0

    async def begin(self) -> None:
        """Start at the first record."""

        async def ask(partitions: Sequence[Partition]) -> dict[tuple[str, int], Watermarks]:
            return {partition: Watermarks(0, 0) for partition in partitions}

        await self._writer.start_at([self._place], ask)

    async def write(self, batches: Iterable[Batch]) -> Cost:
        """Write batches one after the other; return what they took."""
        database_s = children_cpu_s("postgres")
        program_s = [await self._write(batch) for batch in batches]
        database_s = children_cpu_s("postgres") - database_s
        return Cost(program_s, database_s / len(program_s))

    async def _write(self, messages: Batch) -> float:
        now = datetime.now(UTC)
        records = []
        for fixes in messages:
            value = traffic.message(fixes, now)
            records.append(Record(self._place.topic, 0, self._offset, None, value, now))
            self._offset += 1
        before = time.process_time()
        await self._writer.write(records)
        return time.process_time() - before


def _batches(vehicles: int) -> Iterator[list[dict[str, Any]]]:
    """Yield messages of a fleet's uploads without end."""
    streams = [traffic.vehicle_fixes(number) for number in range(vehicles)]
    first = 0
    while True:
        owner = [streams[(first + index) % vehicles] for index in range(_UPLOADS)]
        yield [next(stream) for stream in owner for _ in range(traffic.UPLOAD_FIXES)]
        first += _UPLOADS


async def measure(settings: Settings) -> dict[str, float]:
    """Return the figures."""
    topics = Topics.named("late")
    async with make_pool(settings, max_size=2) as pool:
        log = _Log(Writer(pool, topics), topics)
        await log.begin()
        ordinary = _batches(300)
        await log.write([next(ordinary)] for _ in range(20))  # caches and connections warm up
        buffered, held_back = await _shift(log, "back-each-hour", depot_lat=56.3)
        _, all_day = await _shift(log, "out-all-day", depot_lat=56.31)
        batch = await log.write([next(ordinary)] for _ in range(_BATCHES))
        folded = _folded_again()
        late = await log.write([[entry]] for entry in held_back)
        folded = _folded_again() - folded
        late_all_day = await log.write([[entry]] for entry in all_day)
        # Ten at a time beside a batch of others: what a worker takes that falls behind a little.
        beside = await log.write(
            [next(ordinary), *([entry] for entry in buffered[begin : begin + 10])]
            for begin in range(0, _BUFFERED, 10)
        )
    return {
        "ordinary_batch_cpu_s": batch.median_s,
        "late_fix_cpu_s": late.median_s,
        "late_fix_cpu_s_max": late.max_s,
        "late_fix_in_ordinary_batches": late.median_s / batch.median_s,
        "late_fix_in_ordinary_batches_max": late.max_s / batch.median_s,
        "late_fix_out_all_day_in_ordinary_batches": late_all_day.median_s / batch.median_s,
        "late_fix_out_all_day_in_ordinary_batches_max": late_all_day.max_s / batch.median_s,
        "fixes_folded_again_each": folded / len(held_back),
        "batch_with_ten_late_cpu_s": beside.median_s,
        "batch_with_ten_late_cpu_s_max": beside.max_s,
        "thousand_late_cpu_s": beside.sum_s - batch.median_s * len(beside.program_s),
    }


async def _shift(
    log: _Log, name: str, *, depot_lat: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write a vehicle's shift; return fixes that it has buffered, and some others, all not sent."""
    second = every_second(name, traffic.START, depot_lat=depot_lat)
    shift = [next(second) for _ in range(_HOURS * 3600)]
    buffered = shift[7_000 : 7_000 + _BUFFERED]
    held_back = shift[600 :: len(shift) // _LATE]
    skipped = {entry["recorded_at"] for entry in (*buffered, *held_back)}
    sent = [entry for entry in shift if entry["recorded_at"] not in skipped]
    size = traffic.MESSAGE_FIXES
    await log.write([sent[begin : begin + size]] for begin in range(0, len(sent), size))
    return buffered, [entry for entry in held_back if entry not in buffered]


def _folded_again() -> float:
    return float(metrics.FIXES_FOLDED_AGAIN._value.get())  # noqa: SLF001 - no public getter


def run() -> dict[str, float]:
    """Measure everything; return the figures."""
    with EmbeddedServers() as servers:
        bench = Bench(servers, servers.postgres.url)
        migrate(bench.url)
        with psycopg.connect(bench.url) as connection:
            connection.execute(
                "INSERT INTO municipality (municipality_id, name) VALUES (%s, 'Bench')",
                [traffic.MUNICIPALITY],
            )
            connection.execute(
                "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
                "VALUES (%s, %s, 'Depot', 56.3, 10.4, 10)",
                [f"{traffic.MUNICIPALITY}/depot", traffic.MUNICIPALITY],
            )
        return asyncio.run(measure(bench.settings("late")))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    asked = parser.parse_args()
    figures = run()
    if asked.json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:46}{value:14,.4f}")


if __name__ == "__main__":
    main()
