"""The command line: what is not our fault is said in a line, with what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.processes import started_command as run

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def taken() -> Iterator[str]:
    """Yield a port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    done = run("fleet", "show", FLEETPULSE_DATABASE_URL=f"postgresql://me:s3cret@{NOWHERE}/fleet")
    assert done.returncode == 1
    assert f"database fleet at {NOWHERE}" in done.stderr
    assert "Connection refused" in done.stderr
    assert done.stderr.count("\n") == 1  # once, not for each try
    assert "FLEETPULSE_DATABASE_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr


def test_a_database_without_our_tables_is_to_be_migrated(server_url: str) -> None:
    done = run("fleet", "show", FLEETPULSE_DATABASE_URL=server_url)
    assert done.returncode == 1
    assert "run: fleetpulse migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_that_is_away_is_named(database_url: str) -> None:
    done = run(
        "migrate",
        FLEETPULSE_DATABASE_URL=database_url,
        FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS=NOWHERE,
    )
    assert done.returncode == 1
    assert f"kafka at {NOWHERE}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_said(taken: str) -> None:
    done = run("ingest", "--port", taken)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_schedule_that_never_comes_is_said(database_url: str) -> None:
    done = run("planner", FLEETPULSE_DATABASE_URL=database_url, FLEETPULSE_PLANNER_SCHEDULE="bogus")
    assert done.returncode == 1
    assert "FLEETPULSE_PLANNER_SCHEDULE='bogus'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("FLEETPULSE_KAFKA_PARTITIONS", "zero", "setting FLEETPULSE_KAFKA_PARTITIONS: "),
        ("FLEETPULSE_PLANNER_HORIZON_DAYS", "1", "setting FLEETPULSE_PLANNER_HORIZON_DAYS: "),
        ("FLEETPULSE_TRAVEL_TIMEOUT_S", "0", "setting FLEETPULSE_TRAVEL_TIMEOUT_S: "),
        ("FLEETPULSE_INGEST_PORT", "99999", "setting FLEETPULSE_INGEST_PORT: "),
        ("FLEETPULSE_KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "needs a user: set FLEETPULSE_KAFKA_"),
    ],
)
def test_a_wrong_setting_is_named_as_it_is_set(name: str, value: str, says: str) -> None:
    done = run("migrate", **{name: value})
    assert done.returncode == 2
    assert says in done.stderr


def test_a_fleet_is_entered_from_standard_input_and_shown(database_url: str) -> None:
    example = run("fleet", "example").stdout
    entered = run("fleet", "apply", "-", stdin=example, FLEETPULSE_DATABASE_URL=database_url)
    assert entered.returncode == 0, entered.stderr
    assert "Odder" in run("fleet", "show", FLEETPULSE_DATABASE_URL=database_url).stdout
    wrong = example.replace('"vehicle_id": "odder/', '"vehicle_id": "roskilde/')
    refused = run("fleet", "apply", "-", stdin=wrong, FLEETPULSE_DATABASE_URL=database_url)
    assert refused.returncode == 2
    assert "roskilde/car-017 does not belong to municipality odder" in refused.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("key", "create", "odder", "a b/c"),
        ("reader", "grant", "Bad Name;", "odder", "--password", "x"),
    ],
)
def test_names_that_would_confuse_are_refused(command: tuple[str, ...], database_url: str) -> None:
    done = run(*command, FLEETPULSE_DATABASE_URL=database_url)
    assert done.returncode == 2
    assert "does not match" in done.stderr


def test_help_of_plan_ask_says_what_waiting_is() -> None:
    words = " ".join(run("plan", "request", "--help").stdout.replace("│", " ").split())
    assert "Wait for the answer and show the plan." in words
    assert "Longest wait with --wait, in seconds (default: 300)." in words
    assert "the exit code is 1 if the planner refuses or does not answer in time" in words
    assert "the planner answers it later" in words
    assert "`plan MUNICIPALITY` requests one" in run("plan", "--help").stdout
