"""`plan request --wait`: the planner's answer on the terminal, or why there is none."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from infra.settings import Settings
from tests.planner_harness import (
    change,
    enter_fleet,
    enter_round_trips,
    planner,
    plans,
    read,
    run,
    until,
    with_planner,
)
from tests.processes import command

# What is tried here is between planner and database; which broker stands by makes no difference.
pytestmark = pytest.mark.parametrize("kafka", ["tansu"], indirect=True)


def fleetpulse(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return command(*words, FLEETPULSE_DATABASE_URL=settings.database_url.get_secret_value())


async def beside(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command while the planner runs."""
    return await asyncio.to_thread(fleetpulse, settings, *words)


@pytest.mark.parametrize("words", [("plan", "m", "--wait"), ("plan", "request", "--wait", "m")])
def test_who_waits_sees_the_plan_as_show_does(settings: Settings, words: tuple[str, ...]) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> subprocess.CompletedProcess[str]:
        async with planner(settings):
            return await beside(settings, *words)

    done = asyncio.run(scenario())
    assert (done.returncode, done.stderr) == (0, "")
    requested, _, shown = done.stdout.partition("\n")
    (request,) = read(settings, "SELECT request_id, plan_id FROM plan_request")
    assert requested.startswith(f"requested: {request['request_id']}; ")
    assert shown == fleetpulse(settings, "plan", "show", "m", str(request["plan_id"])).stdout
    assert "why on-request: asked for by " in " ".join(shown.split())


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (None, "no plan for m: refused: 0 round trips in 84 days, at least 50 are needed"),
        ("UPDATE municipality SET timezone = 'Nowhere'", "no plan for m: failed: "),
    ],
)
def test_who_waits_in_vain_is_told_why(settings: Settings, fault: str | None, says: str) -> None:
    enter_fleet(settings)
    if fault is not None:
        enter_round_trips(settings)
        change(settings, fault)

    async def scenario() -> subprocess.CompletedProcess[str]:
        async with planner(settings):
            return await beside(settings, "plan", "m", "--wait")

    done = asyncio.run(scenario())
    assert done.returncode == 1
    assert done.stderr.startswith(f"fleetpulse: {says}")
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1


def test_without_a_planner_the_wait_ends_and_the_request_stays(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    done = fleetpulse(settings, "plan", "m", "--wait", "--timeout", "0.3")
    assert done.returncode == 1
    (request,) = read(settings, "SELECT request_id FROM plan_request WHERE done_at IS NULL")
    assert f"no answer to request {request['request_id']} within 0.3 s" in done.stderr
    assert "no planner leads: is one running? Its /readyz" in done.stderr
    assert "fleetpulse plan list m" in done.stderr

    async def scenario() -> None:
        async with planner(settings):
            await until(lambda: plans(settings), "the plan that was asked for")

    run(scenario())
    (answered,) = read(settings, "SELECT request_id FROM plan_request WHERE plan_id IS NOT NULL")
    assert answered == request


def test_a_planner_that_has_not_come_to_it_is_told_from_none(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> subprocess.CompletedProcess[str]:
        async with planner(with_planner(settings, request_cooldown_s=600)):
            assert (await beside(settings, "plan", "m", "--wait")).returncode == 0
            return await beside(settings, "plan", "m", "--wait", "--timeout", "0")

    done = asyncio.run(scenario())
    assert done.returncode == 1
    assert "within 0 s: a planner leads, and is not through with it" in done.stderr
    assert "give a longer --timeout" in done.stderr


def test_a_limit_of_a_wait_without_one_is_refused(settings: Settings) -> None:
    enter_fleet(settings)
    done = fleetpulse(settings, "plan", "m", "--timeout", "5")
    assert done.returncode == 2
    assert "--timeout 5 goes with --wait; give both or neither" in done.stderr
    assert fleetpulse(settings, "plan", "m", "--wait", "--timeout", "-1").returncode == 2
    assert read(settings, "SELECT 1 FROM plan_request") == []
