"""What the benches feed: fixes of a made-up fleet, in messages as the gateway sends them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

MUNICIPALITY: Final = "bench"
_DAYS_AGO: Final = 70
START: Final = datetime.now(UTC).replace(hour=5, minute=0, second=0, microsecond=0) - timedelta(
    days=_DAYS_AGO
)
"""Of all traffic, which is live: within what a live key may send, with room for weeks of it."""
UPLOAD_FIXES: Final = 20
"""Consecutive fixes that a tracker uploads at once."""
MESSAGE_FIXES: Final = 500
_INTERVAL: Final = timedelta(seconds=10)
_CYCLE: Final = 60
_STANDS: Final = 24
"""Of sixty fixes, ten minutes, a vehicle stands for four minutes."""


def vehicle_fixes(vehicle: int, *, start: datetime = START) -> Iterator[dict[str, Any]]:
    """Yield the fixes of one vehicle without end: it drives, stops, and sometimes idles."""
    rng = random.Random(vehicle)
    at, lat, lon, odometer_m = start, 56.3, 10.4, 1000.0
    number = vehicle * 7
    while True:
        driving = number % _CYCLE >= _STANDS
        if driving:
            lat += rng.choice((-0.001, 0.001, 0.001))
            odometer_m += 111.0
        yield {
            "vehicle_id": f"{MUNICIPALITY}/v{vehicle}",
            "recorded_at": at,
            "lat": round(lat, 6),
            "lon": lon,
            "speed_mps": 11.0 if driving else 0.0,
            "heading_deg": 0.0,
            "ignition": driving or number % (2 * _CYCLE) < 2 * _STANDS,
            "odometer_m": odometer_m,
        }
        at += _INTERVAL
        number += 1


def message(fixes: list[dict[str, Any]], received_at: datetime) -> bytes:
    """Return the value of a Kafka message."""
    return orjson.dumps(
        {
            "municipality_id": MUNICIPALITY,
            "vendor": "bench",
            "received_at": received_at,
            "fixes": fixes,
        }
    )


def messages(vehicles: int, fixes_each: int, partitions: int) -> Iterator[tuple[int, bytes]]:
    """Yield (partition, value) until every vehicle has sent so many fixes, in uploads of twenty."""
    received_at = datetime.now(UTC)
    streams = [vehicle_fixes(vehicle) for vehicle in range(vehicles)]
    filling: list[list[dict[str, Any]]] = [[] for _ in range(partitions)]
    for first in range(0, fixes_each, UPLOAD_FIXES):
        for vehicle, stream in enumerate(streams):
            upload = filling[vehicle % partitions]
            upload += [next(stream) for _ in range(min(UPLOAD_FIXES, fixes_each - first))]
            if len(upload) >= MESSAGE_FIXES:
                yield vehicle % partitions, message(upload, received_at)
                filling[vehicle % partitions] = []
    for partition, rest in enumerate(filling):
        if rest:
            yield partition, message(rest, received_at)
