"""A worker whose consumer stops to fetch, silently, when it gets SIGUSR1; as a program."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from infra.settings import Settings
from stream.process import lifecycle, logs
from stream.worker import run

_apps: list[Any] = []
_make_app = run.make_app  # type: ignore[attr-defined]


def _keep(*args: Any) -> Any:
    app = _make_app(*args)
    _apps.append(app)
    return app


def _go_deaf() -> None:
    """Pause all partitions in the consumer itself: neither Faust nor we are told."""
    consumer = _apps[-1]._consumer._thread._consumer  # noqa: SLF001 - behind its back
    consumer.pause(*consumer.assignment())


async def _main(stop: asyncio.Event) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _go_deaf)
    await run.run_worker(Settings(), stop)


if __name__ == "__main__":
    run.make_app = _keep  # type: ignore[assignment, attr-defined]
    logs.configure("info", as_json=False)
    lifecycle.run(_main)
