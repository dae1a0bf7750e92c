"""Of several planners one leads; who dies, hangs or is cut off leaves the lead to another."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from infra.embedded.reaper import Reaper
from infra.settings import Settings
from tests.planner_harness import (
    ask,
    enter_fleet,
    enter_round_trips,
    leaders,
    planner,
    plans,
    read,
    run,
    until,
    with_planner,
)
from tests.processes import Service, wait_for


def test_of_two_planners_one_plans_and_the_other_takes_over(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planner(settings) as first:
            await until(lambda: plans(settings), "a plan")
            async with planner(settings):
                await asyncio.sleep(3)
                assert len(plans(settings)) == 1
                assert leaders(settings) == 1
                first.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await first
                await ask(settings)
                await until(lambda: len(plans(settings)) == 2, "the plan of the other")
                assert leaders(settings) == 1

    run(scenario())
    assert [row["trigger"] for row in plans(settings)] == ["drift", "on-request"]


def test_two_planners_that_start_together_make_one_plan(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planner(settings), planner(settings):
            await until(lambda: plans(settings), "a plan")
            await asyncio.sleep(3)

    run(scenario())
    assert len(plans(settings)) == 1


def test_a_leader_that_loses_its_connection_leads_again(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planner(settings):
            await until(lambda: plans(settings), "a plan")
            killed = read(
                settings,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'fleetpulse planner' "
                "AND datname = current_database()",
            )
            assert len(killed) == 1
            await ask(settings)
            await until(lambda: len(plans(settings)) == 2, "a plan after the loss")

    run(scenario())


def test_a_leader_that_hangs_loses_the_lead_to_who_waits(
    settings: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    brief = with_planner(settings, leader_timeout_s=5)
    with Service("planner", brief, reaper, tmp_path) as hung:
        wait_for(lambda: bool(plans(settings)), limit_s=60, what="a plan", who=(hung,))
        os.kill(hung.pid, signal.SIGSTOP)
        try:
            with Service("planner", brief, reaper, tmp_path) as successor:
                asyncio.run(ask(settings))
                wait_for(
                    lambda: len(plans(settings)) == 2,
                    limit_s=60,
                    what="a plan by the next one",
                    who=(successor,),
                )
                os.kill(hung.pid, signal.SIGCONT)
                asyncio.run(ask(settings))
                wait_for(
                    lambda: len(plans(settings)) == 3,
                    limit_s=60,
                    what="a third plan",
                    who=(hung, successor),
                )
                assert hung.child.process.poll() is None, hung.child.tail()
                assert leaders(settings) == 1
        finally:
            if hung.child.process.poll() is None:
                os.kill(hung.pid, signal.SIGCONT)
