"""What is wrong with one municipality keeps no other from its plans, and ends no planner."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg.types.json import Jsonb

from infra.kafka.client import create_topics
from infra.settings import Settings
from tests.planner_harness import (
    ask,
    change,
    ended,
    enter_fleet,
    enter_round_trips,
    planner,
    plans,
    publish,
    read,
    run,
    until,
    with_planner,
)
from tests.stream_harness import faults


def planned(settings: Settings) -> set[str]:
    """Return whose plans there are."""
    return {row["municipality_id"] for row in plans(settings)}


@pytest.fixture
def towns(settings: Settings) -> Settings:
    """Return an installation with three municipalities, the first of which is broken."""
    for name in ("a", "m", "n"):
        enter_fleet(settings, name)
        enter_round_trips(settings, name)
    change(
        settings,
        "UPDATE municipality SET rules = %s WHERE municipality_id = 'a'",
        Jsonb({"gap_s": "soon"}),
    )
    return settings


@pytest.mark.parametrize("forecast", [False, True])
def test_inputs_that_raise_leave_the_others_their_plans(towns: Settings, *, forecast: bool) -> None:
    settings = with_planner(towns, forecast=forecast, time_limit_s=2)
    before = faults("planner")

    async def scenario() -> None:
        async with planner(settings):
            await ask(settings, "a")
            await until(lambda: planned(settings) == {"m", "n"}, "the plans of the others")
            await ask(settings, "n")
            await until(lambda: len(plans(settings)) == 3, "a plan on request")
            await until(
                lambda: read(
                    settings, "SELECT 1 FROM plan_request WHERE outcome LIKE 'failed: %%'"
                ),
                "the broken one's request is answered",
            )

    run(scenario())
    assert faults("planner") > before


@pytest.mark.parametrize(
    ("harm", "task"),
    [
        ("ALTER TABLE alert RENAME TO alert_gone", "planner-signals"),
        ("ALTER TABLE plan_outcome RENAME TO plan_outcome_gone", "planner-follow-up"),
    ],
)
def test_a_part_of_the_tick_that_raises_each_time_leaves_the_others(
    settings: Settings, harm: str, task: str
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    change(settings, harm)
    before = faults(task)

    async def scenario() -> None:
        async with planner(with_planner(settings, follow_up_every_s=0.5)):
            await ask(settings)
            await until(lambda: plans(settings), "a plan")
            await until(lambda: faults(task) > before + 1, "it was tried again")

    run(scenario())


def test_news_that_nobody_understands_stops_no_listener(settings: Settings) -> None:
    asyncio.run(create_topics(settings.kafka))
    enter_fleet(settings)

    async def scenario() -> None:
        async with planner(settings) as task:
            await asyncio.sleep(1)
            await publish(settings, b"\xff", b"[]", b"{}", ended())
            enter_round_trips(settings)
            await until(lambda: plans(settings), "a plan")
            assert not task.done()

    run(scenario())


def test_a_leader_whose_statements_the_database_ends_goes_on(settings: Settings) -> None:
    """A statement limit that an administrator sets is no end of the planner."""
    enter_fleet(settings)
    enter_round_trips(settings)
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON plan FOR EACH ROW "
            "WHEN (NEW.municipality_id = 'm') EXECUTE FUNCTION slow()"
        )
        connection.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''2s''', "
            "current_database()); END $$"
        )
    enter_fleet(settings, "n")
    enter_round_trips(settings, "n")
    before = faults("planner")

    async def scenario() -> None:
        async with planner(settings):
            await until(lambda: planned(settings) == {"n"}, "the plan of the other")
            await until(lambda: faults("planner") > before, "the fault is counted")

    run(scenario())
