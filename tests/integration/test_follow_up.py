"""From accepting a plan to what became of it: commands, a real database and the planner."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.errors import CheckViolation

from infra.settings import Settings
from tests.planner_harness import (
    ask,
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
from tests.unit.test_cli import run as command

# What is tried here is between planner and database; which broker stands by makes no difference.
pytestmark = pytest.mark.parametrize("kafka", ["tansu"], indirect=True)

ZONE = ZoneInfo("Europe/Copenhagen")
SINCE = "2026-03-09T00:00:00+01:00"
PRICE_DKK = Decimal("111.00")
"""Of a round trip of 30 km that no vehicle of the depot takes."""


def fleetpulse(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return command(*words, FLEETPULSE_DATABASE_URL=settings.database_url.get_secret_value())


def outcomes(settings: Settings) -> list[dict[str, Any]]:
    return read(settings, "SELECT * FROM plan_outcome ORDER BY week")


@asynccontextmanager
async def planned(settings: Settings) -> AsyncIterator[None]:
    """Run a planner that has made one plan, on request."""
    await ask(settings)  # before it starts, or it would plan by itself as well
    async with planner(settings):
        await until(lambda: plans(settings), "a plan")
        yield


async def plan_again(settings: Settings, count: int) -> None:
    """Ask for another plan and wait until there are so many."""
    await ask(settings)
    await until(lambda: len(plans(settings)) == count, "another plan")


def hurried(settings: Settings) -> Settings:
    return with_planner(settings, follow_up_every_s=1, request_rest_s=0)


def test_an_accepted_plan_is_followed_up_week_by_week(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=28)

    async def scenario() -> None:
        async with planned(hurried(settings)):
            done = await asyncio.to_thread(
                fleetpulse, settings, "plan", "accept", "m", "--by", "Ea", "--since", SINCE
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("accepted by Ea: ")
            await until(lambda: len(outcomes(settings)) > 20, "outcomes")
            # Car 2 moved on the second Monday; so far nobody had said so.
            change(
                settings,
                "UPDATE vehicle_home SET during = tstzrange(NULL, '2026-03-16T00:00+01') "
                "WHERE vehicle_id = 'm/2'",
            )
            change(
                settings,
                "INSERT INTO vehicle_home VALUES ('m/2', 'm/school', "
                "tstzrange('2026-03-16T00:00+01', NULL))",
            )
            change(settings, "DELETE FROM plan_outcome WHERE week = '2026-03-16'")
            await until(
                lambda: any(row["week"] == date(2026, 3, 16) for row in outcomes(settings)),
                "the week anew",
            )

    run(scenario())
    before, after, third, *idle = outcomes(settings)
    assert [before["week"], after["week"]] == [date(2026, 3, 9), date(2026, 3, 16)]
    assert (before["realised_dkk"], before["not_carried_out_dkk"]) == (0, 7 * PRICE_DKK)
    assert (before["moves_carried_out"], before["moves"]) == (0, 1)
    assert (after["realised_dkk"], after["not_carried_out_dkk"]) == (7 * PRICE_DKK, 0)
    assert (after["moves_carried_out"], after["moves"]) == (1, 1)
    # Long past and reckoned before the move was known: that stays, late fixes come within weeks.
    assert third["moves_carried_out"] == 0
    assert {row["realised_dkk"] for row in idle} == {0}  # nobody has driven since
    assert {row["demand_changed_dkk"] for row in idle} == {before["promised_dkk"]}
    shown = fleetpulse(settings, "plan", "outcome", "m").stdout
    assert "2026-03-16" in shown
    assert "777.00" in shown
    listed = fleetpulse(settings, "plan", "list", "m").stdout
    assert "accepted" in listed
    assert "Ea" in listed


def test_the_last_weeks_are_reckoned_again_for_fixes_that_come_late(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    (row,) = read(settings, "SELECT now() AS now")
    today = row["now"].astimezone(ZONE).date()
    monday = today - timedelta(days=today.weekday() + 7)  # of the week that is over

    async def scenario() -> None:
        async with planned(hurried(settings)):
            since = f"{monday}T00:00:00+02:00"
            assert fleetpulse(settings, "plan", "accept", "m", "--since", since).returncode == 0
            await until(lambda: outcomes(settings), "an outcome")
            assert outcomes(settings)[-1]["unserved_realised"] == 0
            change(
                settings,
                "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, start_depot_id, "
                "end_depot_id, distance_m, trip_count, is_open) "
                "VALUES ('m/2', %s, %s, 'complete', 'm/school', 'm/school', 30000, 2, false)",
                f"{monday}T09:00+01",
                f"{monday}T10:00+01",
            )
            await until(
                lambda: outcomes(settings)[-1]["unserved_realised"] == 1, "the late round trip"
            )

    run(scenario())


def test_deciding_supersedes_and_refuses_in_words(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    nothing = fleetpulse(settings, "plan", "accept", "m")
    assert nothing.returncode == 2
    assert "has no plan" in nothing.stderr

    async def scenario() -> None:
        async with planned(with_planner(settings, request_rest_s=0)):
            await plan_again(settings, 2)
            await plan_again(settings, 3)

    run(scenario())
    first, second, third = [str(row["plan_id"]) for row in plans(settings)]
    assert states(settings) == ["superseded", "superseded", "proposed"]
    # Deciding takes longer than a night: a former proposal may be accepted.
    assert fleetpulse(settings, "plan", "accept", "m", second, "--by", "Ea").returncode == 0
    assert states(settings) == ["superseded", "accepted", "proposed"]
    again = fleetpulse(settings, "plan", "accept", "m", second)
    assert again.returncode == 2
    assert "is accepted by Ea at" in again.stderr
    assert fleetpulse(settings, "plan", "accept", "m").returncode == 0
    assert states(settings) == ["superseded", "superseded", "accepted"]
    (ended,) = read(settings, "SELECT * FROM plan WHERE followed_until IS NOT NULL")
    assert str(ended["plan_id"]) == second
    assert fleetpulse(settings, "plan", "reject", "m").returncode == 0
    assert states(settings) == ["superseded", "superseded", "rejected"]
    assert "rejected already" in fleetpulse(settings, "plan", "reject", "m", third).stderr
    assert fleetpulse(settings, "plan", "reject", "m", first).returncode == 0
    assert "no plan" in fleetpulse(settings, "plan", "reject", "n", third).stderr


def test_weeks_that_turn_out_to_be_another_plans_are_not_told_twice(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=28)

    async def scenario() -> None:
        async with planned(hurried(settings)):
            assert fleetpulse(settings, "plan", "accept", "m", "--since", SINCE).returncode == 0
            await until(lambda: len(outcomes(settings)) > 20, "outcomes")
            await plan_again(settings, 2)
            later = "2026-03-23T00:00:00+01:00"
            assert fleetpulse(settings, "plan", "accept", "m", "--since", later).returncode == 0
            await until(
                lambda: len({row["plan_id"] for row in outcomes(settings)}) == 2, "the other's"
            )

    run(scenario())
    first, second = [row["plan_id"] for row in plans(settings)]
    by_week = [(row["week"], row["plan_id"]) for row in outcomes(settings)]
    assert by_week[:3] == [
        (date(2026, 3, 9), first),
        (date(2026, 3, 16), first),
        (date(2026, 3, 23), second),
    ]
    assert {plan_id for _, plan_id in by_week[2:]} == {second}


def states(settings: Settings) -> list[str]:
    return [row["state"] for row in plans(settings)]


def test_a_plan_that_places_nothing_cannot_be_accepted(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    change(settings, "UPDATE depot SET capacity = 1")

    async def scenario() -> None:
        async with planned(settings):
            pass

    run(scenario())
    refused = fleetpulse(settings, "plan", "accept", "m")
    assert refused.returncode == 2
    assert "is infeasible: it places nothing" in refused.stderr


def test_a_plan_is_asked_for_with_and_without_the_word(settings: Settings) -> None:
    enter_fleet(settings)
    assert fleetpulse(settings, "plan", "m").stdout.startswith("requested: ")
    assert fleetpulse(settings, "plan", "ask", "m").stdout.startswith("requested: ")
    assert len(read(settings, "SELECT 1 FROM plan_request")) == 2
    assert "'nowhere' is not entered" in fleetpulse(settings, "plan", "nowhere").stderr


def test_the_database_keeps_no_outcome_that_does_not_add_up(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planned(settings):
            pass

    run(scenario())
    with (
        psycopg.connect(settings.database_url.get_secret_value()) as connection,
        pytest.raises(CheckViolation, match="plan_outcome_adds_up"),
    ):
        connection.execute(
            "INSERT INTO plan_outcome (plan_id, municipality_id, week, promised_dkk, realised_dkk, "
            "demand_changed_dkk, not_carried_out_dkk, model_wrong_dkk, unserved_promised, "
            "unserved_modelled, unserved_realised, moves, moves_carried_out, explanation) "
            "SELECT plan_id, 'm', '2026-03-09', 100, 50, 20, 20, 9.99, 0, 0, 0, 0, 0, '' FROM plan"
        )
