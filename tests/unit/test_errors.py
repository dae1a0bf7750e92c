"""Every error of ours hangs in one tree, and a command translates it by its branch."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
import typer
from aiokafka.errors import KafkaConnectionError
from typer.testing import CliRunner

import infra
import optimizer
import processors
import schemas
import stream
from infra.database.fleet.master_data import UnknownMunicipalityError
from schemas.errors import FleetpulseError, InternalError, OutageError, UserError
from stream.cli.edge import Edge
from stream.ingest_client import PushFailedError

_BRANCHES = (UserError, OutageError, InternalError)


def _classes() -> Iterator[type[BaseException]]:
    for package in (schemas, processors, optimizer, infra, stream):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.startswith("infra.migrations"):  # alembic's to import
                continue
            for _, entry in inspect.getmembers(importlib.import_module(module.name)):
                if inspect.isclass(entry) and issubclass(entry, BaseException):
                    yield entry


def test_every_error_of_ours_is_of_one_branch() -> None:
    ours = {error for error in _classes() if error.__module__.split(".")[0] in _PACKAGES}
    assert len(ours) > 40
    # Both have the result of a push until then; which branch it is says each class below them.
    branchless = {FleetpulseError, PushFailedError}
    wrong = {
        error.__qualname__: [branch.__name__ for branch in _BRANCHES if issubclass(error, branch)]
        for error in ours - branchless
        if not issubclass(error, FleetpulseError)
        or sum(issubclass(error, branch) for branch in _BRANCHES) != 1
    }
    assert not wrong


_PACKAGES = {"schemas", "processors", "optimizer", "infra", "stream"}


class _NoAnswerError(UserError):
    exit_code = 1


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (UnknownMunicipalityError("odder"), 2, "municipality odder is not entered; `fleetpulse"),
        (_NoAnswerError("no round trip"), 1, "fleetpulse: no round trip"),
        (OutageError("grafana does not answer"), 1, "fleetpulse: grafana does not answer"),
        (KafkaConnectionError("none"), 1, "see FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS"),
        (PermissionError(13, "denied"), 1, "denied"),
    ],
)
def test_a_command_tells_what_is_not_a_bug_in_a_line(
    error: Exception, exit_code: int, message: str
) -> None:
    done = CliRunner().invoke(_raising(error), ["run"])
    assert done.exit_code == exit_code
    assert message in done.output
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("error", [InternalError("a broken invariant"), RuntimeError("ours")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    done = CliRunner().invoke(_raising(error), ["run"])
    assert done.exception is error


def _raising(error: Exception) -> typer.Typer:
    app = typer.Typer(cls=Edge)
    app.callback()(lambda: None)

    @app.command("run")
    def run() -> None:
        raise error

    return app
