"""The baseline: a straightforward Faust app, one event a message, a Table, one row an insert.

Run by `bench/throughput.py` as a process of its own, which sets what it reads from the environment.
"""

from __future__ import annotations

import os
from typing import Any

import faust
import psycopg


class Position(faust.Record):
    """One event as a tutorial would declare it."""

    vehicle_id: str
    recorded_at: str
    lat: float
    lon: float
    speed_mps: float


app = faust.App(
    "plain-" + os.environ["TOPIC"],
    broker="kafka://" + os.environ["BROKER"],
    store="memory://",
    topic_partitions=int(os.environ["PARTITIONS"]),
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    broker_session_timeout=6,
    broker_rebalance_timeout=6,
    broker_heartbeat_interval=2,
    web_enabled=False,
)
positions = app.topic(os.environ["TOPIC"], value_type=Position)
last = app.Table("last", default=str, partitions=int(os.environ["PARTITIONS"]))


@app.agent(positions)
async def store(stream: Any) -> None:
    """Write each event as it comes."""
    connection = await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"], autocommit=True)
    async for event in stream:
        last[event.vehicle_id] = event.recorded_at
        await connection.execute(
            "INSERT INTO plain_fix VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [event.vehicle_id, event.recorded_at, event.lat, event.lon, event.speed_mps],
        )


if __name__ == "__main__":
    app.main()
