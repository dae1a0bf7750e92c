"""From accepting a plan to what became of it: commands, a real database and the planner."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
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
from tests.processes import command

# What is tried here is between planner and database; which broker stands by makes no difference.
pytestmark = pytest.mark.parametrize("kafka", ["tansu"], indirect=True)

ZONE = ZoneInfo("Europe/Copenhagen")
SINCE = "2026-03-30T00:00:00+02:00"
"""After the 28 days of demand that plans are made from here."""
PRICE_DKK = Decimal("111.00")
"""Of a round trip of 30 km that no vehicle of the depot takes."""


def fleetpulse(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return command(*words, FLEETPULSE_DATABASE_URL=settings.database_url.get_secret_value())


def outcomes(settings: Settings) -> list[dict[str, Any]]:
    return read(settings, "SELECT * FROM plan_outcome ORDER BY week")


def send_fix(settings: Settings, recorded_at: str) -> None:
    """Have car 1 be heard of."""
    change(
        settings,
        "INSERT INTO fix (vehicle_id, recorded_at, received_at, lat, lon) "
        "VALUES ('m/1', %s, now(), 56.3, 10.5)",
        recorded_at,
    )


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
    return with_planner(settings, follow_up_every_s=1, request_cooldown_s=0)


def test_an_accepted_plan_is_followed_up_week_by_week(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=28)

    async def scenario() -> None:
        async with planned(hurried(settings)):
            enter_round_trips(settings, days=21, first_day=28)
            send_fix(settings, "2026-04-22T09:00+02")  # in a week in which nobody drives
            done = await asyncio.to_thread(
                fleetpulse, settings, "plan", "accept", "m", "--by", "Ea", "--since", SINCE
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("accepted by Ea: ")
            (row,) = plans(settings)
            saved_dkk = row["cost_before_dkk"] - row["objective_dkk"]
            assert f"\n1 move; promised saving {saved_dkk:,.0f} DKK in" in done.stdout
            await until(lambda: len(outcomes(settings)) == 4, "outcomes")
            # Car 2 moved on the second Monday; so far nobody had said so.
            change(
                settings,
                "UPDATE vehicle_home SET during = tstzrange(NULL, '2026-04-06T00:00+02') "
                "WHERE vehicle_id = 'm/2'",
            )
            change(
                settings,
                "INSERT INTO vehicle_home VALUES ('m/2', 'm/school', "
                "tstzrange('2026-04-06T00:00+02', NULL))",
            )
            change(settings, "DELETE FROM plan_outcome WHERE week = '2026-04-06'")
            await until(
                lambda: any(row["week"] == date(2026, 4, 6) for row in outcomes(settings)),
                "the week anew",
            )

    run(scenario())
    # Of the weeks since, in which nothing was sent at all, nothing is known.
    before, after, third, idle = outcomes(settings)
    assert [before["week"], after["week"]] == [date(2026, 3, 30), date(2026, 4, 6)]
    assert (before["realised_dkk"], before["not_carried_out_dkk"]) == (0, 7 * PRICE_DKK)
    assert (before["moves_carried_out"], before["moves"]) == (0, 1)
    assert (after["realised_dkk"], after["not_carried_out_dkk"]) == (7 * PRICE_DKK, 0)
    assert (after["moves_carried_out"], after["moves"]) == (1, 1)
    # Long past and calculated before the move was known: that stays, late fixes come within weeks.
    assert third["moves_carried_out"] == 0
    assert idle["week"] == date(2026, 4, 20)
    assert (idle["realised_dkk"], idle["demand_changed_dkk"]) == (0, before["promised_dkk"])
    shown = fleetpulse(settings, "plan", "results", "m").stdout
    assert "2026-04-06" in shown
    assert "777.00" in shown
    assert "1 of 1 moves were carried out" in shown
    listed = fleetpulse(settings, "plan", "list", "m").stdout
    (plan,) = plans(settings)
    assert "accepted by Ea" in listed
    assert str(plan["plan_id"]) in listed  # whole, on a terminal of 80 columns
    assert f"{plan['created_at']:%Y-%m-%d %H:%M} UTC" in listed


def test_the_last_weeks_are_reckoned_again_for_fixes_that_come_late(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    (row,) = read(settings, "SELECT now() AS now")
    today = row["now"].astimezone(ZONE).date()
    monday = today - timedelta(days=today.weekday() + 7)  # of the week that is over

    async def scenario() -> None:
        async with planned(hurried(settings)):
            since = f"{monday}T00:00:00+02:00"
            send_fix(settings, f"{monday}T08:00+01")
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
        async with planned(with_planner(settings, request_cooldown_s=0)):
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
    assert "n is not entered" in fleetpulse(settings, "plan", "reject", "n", third).stderr


def test_weeks_that_turn_out_to_be_another_plans_are_not_told_twice(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=28)

    async def scenario() -> None:
        async with planned(hurried(settings)):
            await plan_again(settings, 2)
            await plan_again(settings, 3)
            enter_round_trips(settings, days=28, first_day=28)
            first, second, third = [row["plan_id"] for row in plans(settings)]

            def accept(plan_id: UUID, since: str) -> None:
                done = fleetpulse(settings, "plan", "accept", "m", str(plan_id), "--since", since)
                assert done.returncode == 0, done.stderr

            accept(first, SINCE)
            await until(lambda: weeks_of(first) == [30, 6, 13, 20], "outcomes")
            accept(second, "2026-04-20T00:00:00+02:00")
            await until(lambda: told(first, second) == ([30, 6, 13], [20]), "the second's")
            # From before the second: the first is over for long, and was followed beyond that.
            accept(third, "2026-04-06T00:00:00+02:00")
            now: tuple[list[int], ...] = ([30], [], [6, 13, 20])
            await until(lambda: told(first, second, third) == now, "the third's")

    def weeks_of(plan_id: UUID) -> list[int]:
        return [row["week"].day for row in outcomes(settings) if row["plan_id"] == plan_id]

    def told(*plan_ids: UUID) -> tuple[list[int], ...]:
        return tuple(map(weeks_of, plan_ids))

    run(scenario())


def test_when_a_plan_is_carried_out_is_neither_what_it_was_fitted_to_nor_far_ahead(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=28)

    async def scenario() -> None:
        async with planned(settings):
            pass

    run(scenario())
    early = fleetpulse(settings, "plan", "accept", "m", "--since", "2026-03-29T09:00:00+00:00")
    assert early.returncode == 0  # the last round trip ended then
    change(
        settings,
        "UPDATE plan SET state = 'proposed', decided_by = NULL, decided_at = NULL, "
        "accepted_by = NULL, accepted_at = NULL, followed_from = NULL",
    )
    early = fleetpulse(settings, "plan", "accept", "m", "--since", "2026-03-29T08:59:59+00:00")
    assert early.returncode == 2
    assert "is before 2026-03-29T09:00:00+00:00, the end of the round trips" in early.stderr
    assert "or none for now" in early.stderr
    (row,) = read(settings, "SELECT now() AS now")
    for days, code in ((32, 2), (30, 0)):
        since = (row["now"] + timedelta(days=days)).isoformat()
        late = fleetpulse(settings, "plan", "accept", "m", "--since", since)
        assert late.returncode == code
        assert ("is more than 31 days ahead" in late.stderr) == (code == 2)


def test_who_accepted_a_plan_is_known_after_somebody_else_rejects_it(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planned(settings):
            pass

    run(scenario())
    assert fleetpulse(settings, "plan", "accept", "m", "--by", "Ea").returncode == 0
    (before,) = plans(settings)
    assert fleetpulse(settings, "plan", "reject", "m", "--by", "Bo").returncode == 0
    (after,) = plans(settings)
    assert (after["state"], after["decided_by"], after["accepted_by"]) == ("rejected", "Bo", "Ea")
    assert after["accepted_at"] == before["accepted_at"] == before["decided_at"]
    assert after["decided_at"] > after["accepted_at"]


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


def test_a_plan_that_places_nothing_leaves_the_one_before_it_to_be_accepted(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planned(hurried(settings)):
            change(settings, "UPDATE depot SET capacity = 1")
            await plan_again(settings, 2)

    run(scenario())
    entries = plans(settings)
    assert sorted(row["status"] for row in entries) == ["infeasible", "optimal"]
    assert {row["state"] for row in entries} == {"proposed"}
    accepted = fleetpulse(settings, "plan", "accept", "m")
    assert accepted.returncode == 0, accepted.stderr
    assert "back-test: " in accepted.stdout
    assert {row["status"]: row["state"] for row in plans(settings)} == {
        "infeasible": "proposed",
        "optimal": "accepted",
    }


def test_a_plan_is_asked_for_with_and_without_the_word(settings: Settings) -> None:
    enter_fleet(settings)
    assert fleetpulse(settings, "plan", "m").stdout.startswith("requested: ")
    assert fleetpulse(settings, "plan", "request", "m").stdout.startswith("requested: ")
    assert len(read(settings, "SELECT 1 FROM plan_request")) == 2
    listed = fleetpulse(settings, "plan", "list", "m").stdout
    for row in read(settings, "SELECT request_id FROM plan_request"):
        assert str(row["request_id"]) in listed
    assert "waits for the planner" in listed
    assert "nowhere is not entered" in fleetpulse(settings, "plan", "nowhere").stderr


@pytest.mark.parametrize("word", ["list", "show", "results"])
def test_a_municipality_that_is_not_entered_is_refused(settings: Settings, word: str) -> None:
    refused = fleetpulse(settings, "plan", word, "nowhere")
    assert refused.returncode == 2
    assert "nowhere is not entered" in refused.stderr


def test_a_request_that_was_refused_says_so_in_the_list(settings: Settings) -> None:
    enter_fleet(settings)
    assert fleetpulse(settings, "plan", "m").returncode == 0

    async def scenario() -> None:
        async with planner(settings):
            await until(
                lambda: read(settings, "SELECT 1 FROM plan_request WHERE done_at IS NOT NULL"),
                "an answer",
            )

    run(scenario())
    listed = " ".join(fleetpulse(settings, "plan", "list", "m").stdout.split())
    assert "refused: 0 round" in listed
    shown = fleetpulse(settings, "plan", "show", "m")
    assert shown.returncode == 2
    assert "has no plan yet; see: fleetpulse plan list m" in shown.stderr


def test_a_plan_is_shown_with_what_one_decides_by(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planned(with_planner(settings, lending_within_min=60.0, fetching="by-bicycle")):
            pass

    run(scenario())
    (row,) = plans(settings)
    shown = fleetpulse(settings, "plan", "show", "m").stdout
    again = fleetpulse(settings, "plan", "show", "m", str(row["plan_id"])).stdout
    assert shown == again
    words = " ".join(shown.split())
    document = row["document"]
    assert "state proposed" in words
    parts = [*document["moves"], *document["lendings"]]
    assert parts
    for part in parts:
        assert " ".join(part["reason"].split()) in words
    for entry in (document["backtest_explanation"], document["explanation"]):
        assert entry in words
    saved_dkk = row["cost_before_dkk"] - row["objective_dkk"]
    assert f"promised saving {saved_dkk:,.0f} DKK in" in words
    assert f"nothing costs less than {row['bound_dkk']:,.0f} DKK, a gap of 0.0%" in words
    assert fleetpulse(settings, "plan", "accept", "m", "--by", "Ea").returncode == 0
    assert fleetpulse(settings, "plan", "reject", "m", "--by", "Bo").returncode == 0
    words = " ".join(fleetpulse(settings, "plan", "show", "m").stdout.split())
    assert "state rejected, decided by Bo at" in words
    assert "; accepted by Ea at" in words


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
