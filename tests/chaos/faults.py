"""What happens to an installation: each fault is bounded in time and heals, or is healed."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psutil
import psycopg

from infra.database.connection.stalled_sessions import APPLICATION
from tests.chaos.installation import SESSION_S, Installation

Fault = Callable[[Installation, random.Random], None]
_WITHIN_S: Final = 10.0
_IN_TRANSACTION: Final = (
    "SELECT client_port FROM pg_stat_activity WHERE application_name = %s "
    "AND backend_xid IS NOT NULL AND client_port > 0"
)


class DidNotHappenError(RuntimeError):
    """There was nothing to hurt: no transaction was open in time, or nobody answered."""


def _worker(rng: random.Random) -> str:
    return rng.choice(("worker-1", "worker-2"))


def kill_worker(installation: Installation, rng: random.Random) -> None:
    """Kill a worker as the kernel does when memory is short."""
    installation.kill(_worker(rng))


def kill_both_workers(installation: Installation, rng: random.Random) -> None:
    """Kill all workers at once."""
    del rng
    installation.kill("worker-1")
    installation.kill("worker-2")


def kill_worker_in_transaction(installation: Installation, rng: random.Random) -> None:
    """Kill a worker whose transaction has written and not committed."""
    del rng
    deadline = time.monotonic() + _WITHIN_S
    with (
        suppress(psycopg.Error),
        psycopg.connect(
            installation.settings.conninfo, autocommit=True, connect_timeout=5
        ) as connection,
    ):
        while time.monotonic() < deadline:
            for (port,) in connection.execute(_IN_TRANSACTION, [APPLICATION]).fetchall():
                for name in ("worker-1", "worker-2"):
                    if _has_port(installation.process(name), port):
                        installation.kill(name)
                        return
            time.sleep(0.005)
    raise DidNotHappenError(f"no worker was seen in a transaction for {_WITHIN_S:g} s")


def _has_port(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(place.laddr[1:2] == (port,) for place in process.net_connections())
    return False


def stop_worker(installation: Installation, rng: random.Random) -> None:
    """Ask a worker to end, as a deployment does."""
    installation.kill(_worker(rng), signal.SIGTERM)


def freeze_worker(installation: Installation, rng: random.Random) -> None:
    """Let a worker stand still for less than a session."""
    installation.freeze(_worker(rng), SESSION_S / 3)


def freeze_worker_past_its_session(installation: Installation, rng: random.Random) -> None:
    """Let a worker stand still until its partitions have gone to the other one."""
    installation.freeze(_worker(rng), SESSION_S * 1.8)


def kill_ingest(installation: Installation, rng: random.Random) -> None:
    """Kill the gateway under requests."""
    del rng
    installation.kill("ingest")


def freeze_ingest(installation: Installation, rng: random.Random) -> None:
    """Let the gateway stand still."""
    del rng
    installation.freeze("ingest", 4)


def kill_planner(installation: Installation, rng: random.Random) -> None:
    """Kill the planner, leading or solving."""
    del rng
    installation.kill("planner")


def freeze_database(installation: Installation, rng: random.Random) -> None:
    """Let the database stand still for less than a session."""
    del rng
    installation.freeze("postgres", SESSION_S / 3)


def freeze_database_past_sessions(installation: Installation, rng: random.Random) -> None:
    """Let the database stand still for longer than anybody waits."""
    del rng
    installation.freeze("postgres", SESSION_S * 1.8)


def kill_database(installation: Installation, rng: random.Random) -> None:
    """Kill the database server; it recovers from its log."""
    del rng
    installation.kill("postgres")


def crash_a_backend(installation: Installation, rng: random.Random) -> None:
    """Kill one session's process: the server ends all others and recovers."""
    backends = installation.family("postgres")[1:]
    try:
        os.kill(rng.choice(backends).pid, signal.SIGKILL)
    except (IndexError, ProcessLookupError) as gone:
        raise DidNotHappenError("the database server has no process to kill") from gone


def restart_database(installation: Installation, rng: random.Random) -> None:
    """Restart the database server as an upgrade does."""
    del rng
    installation.kill("postgres", signal.SIGINT)


def cut_connections(installation: Installation, rng: random.Random) -> None:
    """End all sessions of ours, several times."""
    ended = 0
    for _ in range(rng.randint(1, 5)):
        with (
            suppress(psycopg.Error),
            psycopg.connect(
                installation.settings.conninfo, autocommit=True, connect_timeout=5
            ) as connection,
        ):
            ended += connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE starts_with(application_name, %s) AND pid <> pg_backend_pid()",
                [APPLICATION],
            ).rowcount
        time.sleep(rng.random())
    if not ended:
        raise DidNotHappenError("no session of ours was there to be ended")


def lock_a_table(installation: Installation, rng: random.Random) -> None:
    """Hold a table that the stream writes, as somebody's ALTER TABLE would."""
    table = rng.choice(("trip", "segment", "vehicle_state", "stream_progress", "outbox"))
    try:
        with psycopg.connect(installation.settings.conninfo, connect_timeout=5) as connection:
            connection.execute("SET lock_timeout = '8s'")
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            time.sleep(3)
    except psycopg.Error as refused:
        raise DidNotHappenError(f"{table} was not locked: {refused}") from refused


def freeze_broker(installation: Installation, rng: random.Random) -> None:
    """Let the broker stand still for less than a session."""
    del rng
    installation.freeze("broker", SESSION_S / 3)


def freeze_broker_past_sessions(installation: Installation, rng: random.Random) -> None:
    """Let the broker stand still for longer than a session."""
    del rng
    installation.freeze("broker", SESSION_S * 1.8)


def kill_broker(installation: Installation, rng: random.Random) -> None:
    """Kill the broker; it comes back with what is on its disk."""
    del rng
    installation.kill("broker")


def restart_broker(installation: Installation, rng: random.Random) -> None:
    """Restart the broker as an upgrade does."""
    del rng
    installation.kill("broker", signal.SIGTERM)


def rebalance(installation: Installation, rng: random.Random) -> None:
    """Let a third worker come and go."""
    with installation.another_worker():
        time.sleep(rng.uniform(2, 10))


def crowd_the_machine(installation: Installation, rng: random.Random) -> None:
    """Keep the processors busy."""
    del installation, rng
    deadline = time.monotonic() + 6
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            while time.monotonic() < deadline:
                pass
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)


def fill_the_disk(installation: Installation, rng: random.Random) -> None:
    """Leave the database no room on its disk for a while."""
    del rng
    path = installation.directory / "filling"
    block = bytes(1 << 20)
    try:
        with path.open("wb", buffering=0) as file:
            while True:  # to the last byte, whatever others write or free meanwhile
                file.write(block)
    except OSError as full:
        if full.errno != errno.ENOSPC:
            raise
        time.sleep(8)
    finally:
        path.unlink(missing_ok=True)


EVERYWHERE: Final[tuple[Fault, ...]] = (
    kill_worker,
    kill_both_workers,
    kill_worker_in_transaction,
    stop_worker,
    freeze_worker,
    freeze_worker_past_its_session,
    kill_ingest,
    freeze_ingest,
    kill_planner,
    freeze_database,
    freeze_database_past_sessions,
    kill_database,
    crash_a_backend,
    restart_database,
    cut_connections,
    lock_a_table,
    freeze_broker,
    freeze_broker_past_sessions,
    rebalance,
    crowd_the_machine,
)
ON_A_DISK: Final[tuple[Fault, ...]] = (kill_broker, restart_broker)
"""The embedded broker keeps what it holds in memory: to kill it is to lose what was accepted."""
ON_A_DISK_OF_ITS_OWN: Final[tuple[Fault, ...]] = (fill_the_disk,)


def draw(rng: random.Random, count: int, *, on_disk: bool, own_disk: bool) -> list[Fault]:
    """Return so many faults in a random order, of as many kinds as there are."""
    kinds = [
        *EVERYWHERE,
        *(ON_A_DISK if on_disk else ()),
        *(ON_A_DISK_OF_ITS_OWN if own_disk else ()),
    ]
    rng.shuffle(kinds)
    drawn = [kinds[number % len(kinds)] for number in range(count)]
    rng.shuffle(drawn)
    return drawn
