"""What municipalities want of their plans: entered with them, kept, and read by one planner."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation
from psycopg.types.json import Jsonb

from infra.database.fleet.master_data import load_municipalities
from infra.database.fleet.master_data_import import import_master_data
from infra.database.plans.plan_queue import connect
from infra.database.plans.recorded_demand import read_inputs, read_journeys
from infra.database.plans.replan_signals import read_fleet_digests
from infra.settings import Settings
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import FleetFile
from schemas.fleet.policy import Fetching, PlacementPolicy
from schemas.plans.plan import PlacementPlan
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


def document(municipality_id: str, planning: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a file holds about a municipality, with or without a section."""
    entry: dict[str, Any] = {"municipality_id": municipality_id, "name": municipality_id.upper()}
    return {"municipalities": [entry if planning is None else entry | {"planning": planning}]}


def enter_planning(
    settings: Settings, municipality_id: str, planning: dict[str, Any] | None
) -> PlacementPolicy:
    """Enter a municipality and return what is kept as its planning."""

    async def work() -> PlacementPolicy:
        given = FleetFile.model_validate(document(municipality_id, planning))
        async with await connect(settings) as connection:
            await import_master_data(connection, given)
            return (await load_municipalities(connection))[municipality_id].planning

    return asyncio.run(work())


def test_two_municipalities_have_plans_of_their_own_policy_from_one_planner(
    settings: Settings,
) -> None:
    wanted: dict[str, dict[str, Any]] = {
        "a": {"served_share": 0.9, "lending_within_min": 60, "fetching": "by-bicycle"},
        "b": {"served_share": None},
        "c": {},
    }
    for municipality_id, planning in wanted.items():
        enter_fleet(settings, municipality_id)
        enter_round_trips(settings, municipality_id)
        enter_planning(settings, municipality_id, planning)
    rules = with_planner(settings, served_share=0.5, forecast=True)

    async def scenario() -> None:
        for municipality_id in wanted:
            await ask(settings, municipality_id)
        async with planner(rules):
            await until(lambda: len(plans(settings)) == len(wanted), "a plan of each")

    run(scenario())
    made = {
        row["municipality_id"]: PlacementPlan.model_validate(row["document"])
        for row in plans(settings)
    }
    assert {name: placement_plan.policy for name, placement_plan in made.items()} == {
        "a": PlacementPolicy(
            served_share=0.9, lending_within_min=60, fetching=Fetching.BY_BICYCLE, forecast=True
        ),
        "b": PlacementPolicy(forecast=True),
        "c": PlacementPolicy(served_share=0.5, forecast=True),
    }
    assert "At least 90.0% of each class's round trips are served" in made["a"].explanation
    assert "round trips are served" not in made["b"].explanation
    assert "At least 50.0% of each class's round trips are served" in made["c"].explanation
    url = settings.database_url.get_secret_value()
    shown = command("plan", "show", "a", FLEETPULSE_DATABASE_URL=url).stdout
    assert (
        "goal serve at least 90.0% of each class's round trips. Depots lend each other vehicles "
        "within 60 min by bicycle. Demand: forecast, where that is better than last week."
    ) in " ".join(shown.split())
    change(settings, "UPDATE plan SET document = document - 'policy'")
    shown = command("plan", "show", "a", FLEETPULSE_DATABASE_URL=url).stdout
    assert "goal unknown: the plan was made before goals were stored" in " ".join(shown.split())


def test_what_is_left_out_is_the_planner_s_and_so_is_all_without_a_section(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    fallback = PlacementPolicy(served_share=0.8, lending_within_min=7, forecast=True)

    async def policy(of_planner: PlacementPolicy | None) -> PlacementPolicy:
        async with await connect(settings) as connection:
            return (await read_inputs(connection, "m", 84, of_planner)).policy

    assert asyncio.run(policy(fallback)) == fallback
    enter_planning(settings, "m", {"lending_within_min": 0, "forecast": False})
    kept = read(settings, "SELECT planning FROM municipality")
    assert kept == [{"planning": {"lending_within_min": 0, "forecast": False}}]
    assert asyncio.run(policy(fallback)) == PlacementPolicy(served_share=0.8)
    assert asyncio.run(policy(None)) == PlacementPolicy()
    assert enter_planning(settings, "m", {"served_share": 0.3}) == PlacementPolicy(served_share=0.3)
    assert asyncio.run(policy(fallback)) == fallback.model_copy(update={"served_share": 0.3})
    # A file that says nothing of it changes nothing; an empty section goes back to the settings.
    assert enter_planning(settings, "m", None) == PlacementPolicy(served_share=0.3)
    enter_planning(settings, "m", {})
    assert read(settings, "SELECT planning FROM municipality") == [{"planning": {}}]
    assert asyncio.run(policy(fallback)) == fallback


def test_costs_are_those_of_the_municipality_and_of_the_defaults_for_the_rest(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def enter_costs(costs: dict[str, float] | None) -> tuple[Costs, Costs]:
        municipality: dict[str, Any] = {"municipality_id": "m", "name": "M"}
        if costs is not None:
            municipality["costs"] = costs
        file = FleetFile.model_validate({"municipalities": [municipality]})
        async with await connect(settings) as connection:
            await import_master_data(connection, file)
            placement = await read_inputs(connection, "m", 84)
            return placement.costs, (await read_journeys(connection, "m", 84)).costs

    own = Costs(staff_dkk_per_h=410, petrol_dkk_per_l=14.2)
    given = {"staff_dkk_per_h": 410.0, "petrol_dkk_per_l": 14.2}
    assert asyncio.run(enter_costs(given)) == (own, own)
    assert asyncio.run(enter_costs(None)) == (own, own)
    assert read(settings, "SELECT costs FROM municipality") == [{"costs": given}]
    assert asyncio.run(enter_costs({})) == (Costs(), Costs())
    with pytest.raises(CheckViolation, match="municipality_costs_amounts"):
        change(settings, """UPDATE municipality SET costs = '{"staff_dkk_per_h": -1}'""")


@pytest.mark.parametrize(
    ("planning", "says"),
    [
        (
            {"served_share": 95},
            "served_share: Value error, served_share 95 is no share from 0 to 1; give 0.95 for",
        ),
        (
            {"lending_within_min": 600},
            "lending_within_min 600 is not from 0 to 240 minutes; give 0 for no lending",
        ),
        ({"fetching": "by-car"}, "fetching: Input should be 'on-foot' or 'by-bicycle', not 'by-c"),
        ({"share": 0.9}, "share: Extra inputs are not permitted"),
        ({"forecast": None}, "forecast: Input should be a valid boolean"),
    ],
)
def test_a_bad_value_is_refused_by_name_limit_and_remedy(
    settings: Settings, planning: dict[str, Any], says: str
) -> None:
    url = settings.database_url.get_secret_value()
    given = json.dumps(document("m", planning))
    done = command("fleet", "apply", "-", stdin=given, FLEETPULSE_DATABASE_URL=url)
    assert done.returncode == 2
    assert done.stderr.startswith(f"<stdin>: municipalities.0.planning.{next(iter(planning))}: ")
    assert says in done.stderr
    assert read(settings, "SELECT 1 FROM municipality") == []


@pytest.mark.parametrize(
    ("planning", "constraint"),
    [
        ([], "names"),
        ({"share": 1}, "names"),
        ({"served_share": 1.01}, "share"),
        ({"served_share": "much"}, "share"),
        ({"lending_within_min": -1}, "lending"),
        ({"lending_within_min": 240.5}, "lending"),
        ({"lending_within_min": None}, "lending"),
        ({"fetching": "by-car"}, "fetching"),
        ({"fetching": None}, "fetching"),
        ({"forecast": 1}, "forecast"),
    ],
)
def test_the_database_keeps_no_planning_that_cannot_be_meant(
    settings: Settings, planning: object, constraint: str
) -> None:
    enter_fleet(settings)
    with (
        psycopg.connect(settings.database_url.get_secret_value()) as connection,
        pytest.raises(CheckViolation, match=f"municipality_planning_{constraint}"),
    ):
        connection.execute("UPDATE municipality SET planning = %s", [Jsonb(planning)])


def test_the_limits_themselves_are_kept(settings: Settings) -> None:
    widest = {"served_share": 1, "lending_within_min": 240, "fetching": "on-foot", "forecast": True}
    least = {"served_share": 0, "lending_within_min": 0, "forecast": False}
    for planning in (widest, least, {"served_share": None}):
        kept = enter_planning(settings, "m", planning)
        assert kept.model_dump(exclude_unset=True) == planning


def test_another_planning_is_another_basis_of_a_plan(settings: Settings) -> None:
    enter_fleet(settings)

    async def digest() -> str:
        async with await connect(settings) as connection:
            return (await read_fleet_digests(connection, "m"))["m"]

    before = asyncio.run(digest())
    change(settings, "UPDATE municipality SET name = 'Other'")
    assert asyncio.run(digest()) == before
    change(settings, "UPDATE municipality SET planning = '{\"served_share\": 0.9}'")
    assert asyncio.run(digest()) != before


def test_the_example_has_a_section(settings: Settings) -> None:
    url = settings.database_url.get_secret_value()
    example = command("fleet", "example").stdout
    done = command("fleet", "apply", "-", stdin=example, FLEETPULSE_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    (row,) = read(settings, "SELECT planning FROM municipality")
    assert row["planning"] == json.loads(example)["municipalities"][0]["planning"]
    assert set(row["planning"]) == {"served_share", "lending_within_min", "fetching"}
