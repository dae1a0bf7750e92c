"""The planner against a real database and broker: when it plans, what it stores, who leads."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from holidays import country_holidays

from infra.database.connection.pool import make_pool
from infra.database.fleet.master_data import UnknownMunicipalityError, load_fleet
from infra.database.fleet.master_data_import import import_master_data
from infra.database.plans.plan_queue import connect
from infra.database.plans.recorded_demand import read_inputs
from infra.kafka.client import Topics, create_topics
from infra.settings import PlannerSettings, Settings
from optimizer.placement.problem import inputs_hash
from schemas.fleet.master_data import FleetFile
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import PlacementPlan
from stream.planner.run import run_planner
from stream.planner.schedule import ScheduleError, last_fire, next_fire
from tests.planner_harness import (
    HALL,
    SCHOOL,
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


def test_enough_round_trips_are_drift_and_the_plan_is_queued_for_kafka(
    settings: Settings,
) -> None:
    enter_fleet(settings)

    async def scenario() -> None:
        await create_topics(settings.kafka)
        async with planner(settings):
            await asyncio.sleep(3)  # it has looked, and found nothing
            enter_round_trips(settings)
            await publish(settings, b"no round trip", ended())
            await until(lambda: plans(settings), "a plan", 20)  # well before the slow poll

    run(scenario())
    (row,) = plans(settings)
    assert (row["trigger"], row["status"], row["gap"]) == ("drift", "optimal", 0)
    assert row["trigger_reason"] == "no plan yet"
    assert row["round_trip_count"] == 60
    plan = PlacementPlan.model_validate(row["document"])
    assert plan.placement == {"m/1": HALL, "m/2": SCHOOL, "m/3": SCHOOL}
    assert (plan.unserved_before, plan.unserved_after) == (20, 0)
    assert row["inputs_hash"] == plan.inputs_hash
    (move,) = read(settings, "SELECT * FROM plan_move")
    assert (move["vehicle_id"], move["from_depot_id"], move["to_depot_id"]) == (
        "m/2",
        HALL,
        SCHOOL,
    )
    (message,) = read(settings, "SELECT * FROM outbox")
    assert message["topic"] == Topics.named(settings.kafka.topic_prefix).plans
    assert message["key"] == "m"
    assert PlacementPlan.model_validate(message["payload"]) == plan
    # Thirteen of its twenty days fitted, seven replayed: car 2 has been needed at the school.
    tested = read(settings, "SELECT * FROM plan_backtest ORDER BY place")
    columns = ("contender", "round_trips", "served_round_trips")
    assert [tuple(row[column] for column in columns) for row in tested] == [
        ("as it was", 21, 14),
        ("greedy", 21, 21),
        ("plan", 21, 21),
    ]
    assert plan.backtest is not None
    assert [row["cost_dkk"] for row in tested] == [
        contender.cost_dkk for contender in plan.backtest.contenders
    ]
    assert plan.backtest.cost_ratio == pytest.approx(
        tested[2]["cost_dkk"] / tested[0]["cost_dkk"], abs=1e-6
    )


def test_too_few_round_trips_are_no_drift_and_a_request_is_refused_in_words(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=4)

    async def scenario() -> None:
        async with planner(settings):
            await ask(settings)
            await until(
                lambda: read(settings, "SELECT 1 FROM plan_request WHERE done_at IS NOT NULL"),
                "an answer",
            )

    run(scenario())
    assert plans(settings) == []
    (request,) = read(settings, "SELECT * FROM plan_request")
    assert request["plan_id"] is None
    assert request["outcome"].startswith("refused: 12 round trips in 84 days, at least 50")


def test_a_plan_on_request_answers_all_who_wait(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        await ask(settings)
        await ask(settings)
        async with planner(settings):
            await until(
                lambda: not read(settings, "SELECT 1 FROM plan_request WHERE done_at IS NULL"),
                "answers",
            )
            await asyncio.sleep(2)  # nor does drift add another: it has a plan now

    run(scenario())
    (row,) = plans(settings)
    assert (row["trigger"], row["trigger_reason"]) == ("on-request", "asked for by an operator")
    requests = read(settings, "SELECT * FROM plan_request")
    assert [(request["plan_id"], request["outcome"]) for request in requests] == [
        (row["plan_id"], "planned: optimal")
    ] * 2


def test_vehicles_that_nobody_has_entered_are_not_placed(settings: Settings) -> None:
    async def scenario() -> None:
        enter_fleet(settings)
        enter_round_trips(settings)
        with psycopg.connect(settings.database_url.get_secret_value()) as connection:
            connection.execute("UPDATE vehicle SET registered = false WHERE vehicle_id = 'm/2'")
        async with await connect(settings) as connection:
            inputs = await read_inputs(connection, "m", 84)
        assert [vehicle.vehicle_id for vehicle in inputs.vehicles] == ["m/1", "m/3"]
        assert {round_trip.vehicle_id for round_trip in inputs.round_trips} == {"m/1", "m/3"}

    run(scenario())


def test_a_lock_that_is_entered_and_the_policy_of_the_settings_reach_the_plan(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    locked = {"municipality_id": "m", "vehicle_type": "car", "home_depot_id": HALL}
    master_data = FleetFile.model_validate(
        {
            "vehicles": [
                {**locked, "vehicle_id": f"m/{car}", "name": f"Car {car}", "locked_until": end}
                for car, end in ((1, "2027-01-31"), (2, "2026-12-31"))
            ]
        }
    )

    async def scenario() -> None:
        async with make_pool(settings) as pool, pool.connection() as connection:
            await import_master_data(connection, master_data)
            loaded = await load_fleet(connection)
        assert loaded.vehicles["m/2"].locked_until == date(2026, 12, 31)
        rules = with_planner(settings, served_share=1.0, lending_within_min=10)
        async with planner(rules):
            await ask(settings)
            await until(lambda: plans(settings), "a plan")

    run(scenario())
    plan = PlacementPlan.model_validate(plans(settings)[0]["document"])
    assert (plan.status, plan.moves) == ("infeasible", ())
    assert "1 car missing: 1 at School (most at 08:00 to 09:00" in plan.explanation


def test_a_forecast_is_made_if_the_settings_want_one_and_knows_days_off(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=60, first_day=-35)  # before clocks change
    # Every other week car 1 stays at home from Monday to Thursday: last week is always wrong.
    change(
        settings,
        "DELETE FROM round_trip WHERE vehicle_id = 'm/1' "
        "AND (started_at::date - date '2025-12-29') / 7 %% 2 = 0 "
        "AND extract(isodow FROM started_at) < 5",
    )
    rules = with_planner(settings, horizon_days=60, forecast=True)

    async def scenario() -> PlacementInputs:
        async with planner(rules):
            await ask(settings)
            await until(lambda: plans(settings), "a plan")
        connection = await connect(settings)
        async with connection:
            return await read_inputs(connection, "m", 60, rules.planner.policy)

    inputs = asyncio.run(scenario())
    plan = PlacementPlan.model_validate(plans(settings)[0]["document"])
    assert "Demand is forecast for 1 of 2 depots and classes" in plan.explanation
    started = {round_trip.started_at.year for round_trip in inputs.round_trips}
    off = country_holidays("DK", years=[*started, max(started) + 1])
    assert plan.inputs_hash == inputs_hash(inputs.model_copy(update={"holidays": tuple(off)}))
    assert plan.inputs_hash != inputs_hash(inputs)


def test_a_plan_for_an_unknown_municipality_cannot_be_asked_for(settings: Settings) -> None:
    with pytest.raises(UnknownMunicipalityError, match="municipality nowhere is not entered"):
        asyncio.run(ask(settings, "nowhere"))


def test_the_schedule_plans_the_same_demand_to_the_same_answer(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    every_second = with_planner(settings, schedule="* * * * * *", cooldown_s=0)

    async def scenario() -> None:
        async with planner(every_second):
            await until(lambda: len(plans(settings)) >= 3, "three plans")

    run(scenario())
    first, *others = plans(settings)
    assert first["trigger"] == "drift"
    assert {row["trigger"] for row in others} == {"schedule"}
    assert len({row["inputs_hash"] for row in others} | {first["inputs_hash"]}) == 1
    assert {str(row["document"]["moves"]) for row in others} == {str(first["document"]["moves"])}
    assert len({row["plan_id"] for row in plans(settings)}) == len(plans(settings))


def test_changed_demand_is_drift_but_not_before_the_cooldown_is_over(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    patient = with_planner(settings, cooldown_s=4.0)

    async def scenario() -> None:
        await create_topics(settings.kafka)
        async with planner(patient):
            await until(lambda: plans(settings), "the first plan")
            with psycopg.connect(settings.database_url.get_secret_value()) as connection:
                connection.execute(
                    "UPDATE round_trip SET start_depot_id = %s WHERE vehicle_id = 'm/3'", [HALL]
                )
            await publish(settings, ended("m/3"))
            await until(lambda: len(plans(settings)) == 2, "the second plan")

    run(scenario())
    first, second = plans(settings)
    assert second["created_at"] - first["created_at"] >= timedelta(seconds=4)
    assert second["trigger"] == "drift"
    assert second["trigger_reason"].startswith("drift 0.33 of 0.20: 33% of vehicle-hours out")


def test_one_municipality_s_fault_does_not_stop_another(settings: Settings) -> None:
    enter_fleet(settings, "a")
    enter_round_trips(settings, "a")
    enter_fleet(settings, "b")
    enter_round_trips(settings, "b")
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("UPDATE municipality SET timezone = 'Nowhere' WHERE municipality_id='a'")

    async def scenario() -> None:
        await ask(settings, "a")
        async with planner(settings):
            await until(lambda: plans(settings), "the other's plan")

    run(scenario())
    assert [row["municipality_id"] for row in plans(settings)] == ["b"]
    (request,) = read(settings, "SELECT * FROM plan_request")
    assert request["outcome"].startswith("failed: ")
    assert "Nowhere" in request["outcome"]


def test_without_broker_and_database_it_waits_and_stops_when_told(settings: Settings) -> None:
    away = settings.model_copy(
        update={
            "kafka": settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"}),
            "database_url": type(settings.database_url)("postgresql://nobody@127.0.0.1:1/none"),
        }
    )

    async def scenario() -> None:
        async with planner(away) as task:
            await asyncio.sleep(3)
            assert not task.done()

    run(scenario())


def test_the_loop_stays_free_while_a_plan_is_made(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings, days=50)
    longest = 0.0

    async def heartbeat() -> None:
        nonlocal longest
        clock = asyncio.get_running_loop().time
        while True:
            began_at = clock()
            await asyncio.sleep(0.01)
            longest = max(longest, clock() - began_at)

    async def scenario() -> None:
        async with planner(settings):
            beating = asyncio.create_task(heartbeat())
            await until(lambda: plans(settings), "a plan")
            beating.cancel()

    run(scenario())
    assert longest < 1.0


@pytest.mark.parametrize("schedule", ["at night", "0 3 * *", "0 3 31 2 *"])
def test_a_schedule_that_never_comes_is_refused(schedule: str) -> None:
    settings = Settings(planner=PlannerSettings(schedule=schedule))
    with pytest.raises(ScheduleError, match=r"FLEETPULSE_PLANNER_SCHEDULE='.*' never comes"):
        asyncio.run(run_planner(settings, asyncio.Event()))


@pytest.mark.parametrize(
    ("schedule", "now", "last", "following"),
    [
        # Winter and summer: three in the night is 02:00 and 01:00 UTC.
        ("0 3 * * *", "2026-01-10T02:00:00", "2026-01-10T02:00:00", "2026-01-11T02:00:00"),
        ("0 3 * * *", "2026-07-10T00:59:59.9", "2026-07-09T01:00:00", "2026-07-10T01:00:00"),
        # The clock leaps from two to three: half past two counts as before the leap ended.
        ("30 2 * * *", "2026-03-29T01:10:00", "2026-03-29T00:30:00", "2026-03-30T00:30:00"),
        # Half past two comes twice, and counts once.
        ("30 2 * * *", "2026-10-25T00:40:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
        ("30 2 * * *", "2026-10-25T01:40:00", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
    ],
)
def test_the_schedule_is_danish_wall_clock_time(
    schedule: str, now: str, last: str, following: str
) -> None:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert last_fire(schedule, at) == datetime.fromisoformat(last).replace(tzinfo=UTC)
    assert next_fire(schedule, at) == datetime.fromisoformat(following).replace(tzinfo=UTC)
