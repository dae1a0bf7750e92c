"""Studies on a real database: from fixes to a stored answer, the commands, and what readers see."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from pydantic import TypeAdapter

from infra.database.connection.pool import Pool
from infra.database.fleet.master_data_import import import_master_data
from infra.database.plans.studies import read_study
from infra.settings import Settings
from optimizer.search import Search
from schemas.events.fix import Fix
from schemas.ids import scoped
from schemas.plans.assignment import AssignmentPlan
from schemas.plans.carpool import CarpoolPlan
from schemas.plans.study import Study, figures_of
from stream.simulator.config import SimulationConfig
from stream.simulator.simulation import simulate
from stream.studies import run
from stream.worker.write.writer import Writer
from tests.processes import command
from tests.road_services import metres, osrm, serving
from tests.stream_harness import TOPICS, Log, message, open_pool
from tests.study_town import call, rows

SIMULATED = SimulationConfig(
    seed=3,
    start=date(2026, 2, 23),
    days=4,
    vehicles_per_municipality=12,
    driving_interval_s=60.0,
    idling_interval_s=300.0,
    parked_interval_s=3600.0,
)
WHERE = "syddjurs"


pytestmark = pytest.mark.usefixtures("environment")


async def live(pool: Pool) -> None:
    """Enter a simulated fleet, and fold the fixes of its days."""
    fleet = simulate(SIMULATED)
    async with pool.connection() as connection:
        await import_master_data(connection, fleet.master_data)
    events = [
        {**event, "vehicle_id": scoped(owner, event["vehicle_id"])}
        for day in fleet.days()
        for owner, event in day.fixes
    ]
    fixes = TypeAdapter(list[Fix]).validate_python(events)
    log, writer = Log(), Writer(pool, TOPICS)
    for first in range(0, len(fixes), 1000):
        log.append(message(fixes[first : first + 1000]))
    await writer.write(log.since(await log.assign(writer)))


async def studied(pool: Pool) -> list[Study]:
    """Make both studies of the rows that are there."""
    trip_chains = await run.read_placement_inputs(pool, WHERE, 4)
    rides = await run.read_journey_rows(pool, WHERE, 4)
    search, ways = Search(1, 5.0), run.travel_source(Settings(), rides.costs)
    return [
        await run.store(pool, solved, "a test")
        for solved in (
            run.solve_assignment(trip_chains, search),
            run.solve_carpool(rides, run.CarpoolOptions(), search, ways),
        )
    ]


def test_fixes_become_studies_and_the_same_rows_the_same_ones(database_url: str) -> None:
    async def main() -> tuple[list[Study], list[Study], list[Study | None]]:
        async with open_pool(database_url) as pool:
            await live(pool)
            first, again = await studied(pool), await studied(pool)
            async with pool.connection() as connection:
                return (
                    first,
                    again,
                    [await read_study(connection, study.study_id) for study in first],
                )

    first, again, stored = asyncio.run(main())
    assert stored == first
    assert [study.plan for study in again] == [study.plan for study in first]
    assert [study.basis for study in again] == [study.basis for study in first]
    assert len({study.study_id for study in first + again}) == 4
    assignment, carpool = (study.plan for study in first)
    assert isinstance(assignment, AssignmentPlan)
    assert isinstance(carpool, CarpoolPlan)
    _check_against_the_rows(database_url, assignment)
    kept = rows(database_url, "SELECT * FROM study ORDER BY created_at")
    assert [row["kind"] for row in kept] == ["assignment", "carpool"] * 2
    for row, study in zip(kept, first + again, strict=True):
        assert (row["study_id"], row["requested_by"]) == (study.study_id, "a test")
        assert row["inputs_hash"] == study.plan.inputs_hash
        assert (row["objective_dkk"], row["bound_dkk"], row["gap"]) == figures_of(study.plan)
        assert row["document"] == study.plan.model_dump(mode="json")


def _check_against_the_rows(url: str, plan: AssignmentPlan) -> None:
    """Count in SQL what has left a depot and is back; each of it has a vehicle or a price."""
    [row] = rows(
        url,
        "SELECT count(*) AS trips, count(DISTINCT vehicle_id) AS vehicles FROM round_trip "
        "WHERE NOT is_open AND start_depot_id IS NOT NULL AND kind <> 'open'",
    )
    answered = len(plan.assignment) + len(plan.unserved)
    assert 0 < answered <= row["trips"], "some leave again within a changeover: one trip chain"
    assert answered >= 0.7 * row["trips"]
    # As many vehicles as the fleet has did it all: no more are needed, and less own cars.
    assert 0 < plan.vehicles_used <= row["vehicles"]
    out = {depot.depot_id: depot.peak_overlap for depot in plan.depots}
    assert set(out) <= {row["depot_id"] for row in rows(url, "SELECT depot_id FROM depot")}


def test_an_assignment_is_asked_for_listed_and_shown_again(town: str) -> None:
    code, text = call("assignment", "m", "--time-limit", "5")
    assert code == 0, text
    # Ten days from 2 to 11 March: 547.57 DKK for a car; ten own cars for 40 km are 1,480 DKK.
    assert "30 of 30 round trips have a vehicle; 3 of 3 vehicles are used." in text
    assert "2026-03-02 to 2026-03-11 (10 days)" in text
    assert "nothing costs less" in text
    [row] = rows(town, "SELECT * FROM study")
    energy_dkk = 30 * 40 * 0.06 * (12.33 + 2.52 * 1.5)
    assert row["objective_dkk"] == pytest.approx(3 * 20_000 * 10 / 365.25 + energy_dkk, abs=0.2)
    code, listed = call("list", "m")
    assert code == 0
    assert f"{row['study_id']}" in listed
    assert "assignment, optimal, gap 0.0%" in listed
    code, shown = call("show", str(row["study_id"]))
    assert (code, shown) == (0, text)


@pytest.mark.usefixtures("town")
def test_a_shorter_look_back_is_a_smaller_question() -> None:
    code, text = call("assignment", "m", "--weeks", "1")
    assert code == 0, text
    # The week before the newest end, on the eleventh: what left early on the fourth is out of it.
    assert "21 of 21 round trips have a vehicle" in text
    assert "2026-03-05 to 2026-03-11 (7 days)" in text


def test_dear_vehicles_stand_unless_they_are_paid_for(town: str) -> None:
    with psycopg.connect(town) as connection:
        connection.execute("UPDATE vehicle SET yearly_cost_dkk = 90000")
    code, text = call("assignment", "m")
    assert code == 0, text
    assert "0 of 30 round trips have a vehicle; 0 of 3 vehicles are used." in text
    assert "was not found to cost less than the own cars that it saves" in text
    code, text = call("assignment", "m", "--sunk-cost")
    assert code == 0, text
    assert "30 of 30 round trips have a vehicle; 3 of 3 vehicles are used." in text


def test_carpooling_is_within_a_depot_until_depots_agree(town: str) -> None:
    code, text = call("carpool", "m")
    assert code == 0, text
    assert "10 of 30 journeys ride along in 10 vehicles" in text
    assert "No two of them have agreed to share." in text
    assert "takes along" in text
    code, text = call("carpool", "m", "--share-between", "school,hall")
    assert code == 0, text
    assert "20 of 30 journeys ride along in 10 vehicles" in text
    assert "Agreed: hall with school." in text
    code, text = call("carpool", "m", "--detour-km", "2", "--max-time-shift", "1")
    assert code == 0, text
    assert "At most 2 km of detour each way, and 1 min earlier or later." in text
    code, text = call(
        "carpool", "m", "--share-between", "school,hall", "--freed-vehicle-value", "1000"
    )
    assert code == 0, text
    assert "At most 3 vehicles were out at once, depot by depot; shared, 1." in text
    assert "A vehicle less at a depot's peak is worth 1000 DKK." in text
    worths = [row["objective_dkk"] for row in rows(town, "SELECT * FROM study ORDER BY created_at")]
    assert worths[-1] == pytest.approx(worths[1] + 2000, abs=1)
    documents = [row["document"] for row in rows(town, "SELECT * FROM study ORDER BY created_at")]
    assert [len(document["groups"]) for document in documents[:2]] == [10, 10]


def test_routes_of_a_file_are_planned_and_kept(town: str, tmp_path: Path) -> None:
    code, example = call("routes-example")
    assert code == 0
    path = tmp_path / "visits.json"
    path.write_text(example)
    code, text = call("routes", str(path))
    assert code == 2
    assert "municipality odder is not entered" in text
    path.write_text(example.replace("odder", "m"))
    code, text = call("routes", str(path))
    assert code == 0, text
    assert "3 of 3 visits are made by" in text
    [row] = rows(town, "SELECT * FROM study")
    assert (row["kind"], row["status"], row["seed"]) == ("routes", "optimal", 1)
    code, shown = call("show", str(row["study_id"]))
    assert (code, shown) == (0, text)
    code, piped = call("routes", "-", stdin=path.read_text())
    assert code == 0, piped


def test_what_cannot_be_studied_is_said_with_a_remedy(town: str, tmp_path: Path) -> None:
    for arguments in (("assignment", "q"), ("carpool", "q"), ("list", "q")):
        code, output = call(*arguments)
        assert code == 2
        assert "municipality q is not entered; `fleetpulse fleet show` lists" in output
    for kind in ("assignment", "carpool"):
        code, output = call(kind, "n")
        assert code == 1
        assert output.startswith("fleetpulse: no ")
        assert "look further back with --weeks" in output
    for pair in ("hall", "hall,", "hall,school,yard"):
        code, output = call("carpool", "m", "--share-between", pair)
        assert code == 2
        assert "give --share-between A,B" in output
    code, output = call("carpool", "m", "--share-between", "hall,yard")
    assert code == 2
    assert "m has no depot 'yard'" in output
    code, output = call("show", str(UUID(int=0)))
    assert code == 2
    assert "no study 00000000-0000-0000-0000-000000000000" in output
    code, output = call("routes", str(tmp_path / "missing.json"))
    assert code == 2
    assert "No such file" in output
    for text, complaint in (
        ("no JSON", "Invalid JSON"),
        (json.dumps({"municipality_id": "m"}), "depots: Field required"),
    ):
        path = tmp_path / "wrong.json"
        path.write_text(text)
        code, output = call("routes", str(path))
        assert code == 2
        assert complaint in output
        assert str(path) in output
    assert rows(town, "SELECT * FROM study") == []


def test_ways_are_those_of_the_travel_service_and_never_others(
    town: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, geodesic = call("carpool", "m", "--share-between", "hall,school")
    assert code == 0, geodesic
    monkeypatch.setenv("FLEETPULSE_TRAVEL_SERVICE", "osrm")
    with serving(osrm) as (url, asked):
        monkeypatch.setenv("FLEETPULSE_TRAVEL_URL", url)
        code, text = call("carpool", "m", "--share-between", "hall,school")
    assert code == 0, text
    assert asked
    assert "Ways as osrm has them." in text
    by_road, by_air = rows(town, "SELECT * FROM study ORDER BY created_at DESC")
    assert by_road["inputs_hash"] != by_air["inputs_hash"]
    # To 56.42 and back from the hall, by the metres of that service.
    [group, *_] = by_road["document"]["groups"]
    there = metres((56.30, 10.5), (56.42, 10.5)), metres((56.42, 10.5), (56.30, 10.5))
    assert group["saved_m"] == pytest.approx(2 * sum(there), abs=4_000)
    # It is away now: the geodesic does not stand in for it.
    code, text = call("carpool", "m")
    assert code == 1
    assert f"no answer from {url}" in text
    assert "FLEETPULSE_TRAVEL_SERVICE=geodesic" in text
    assert len(rows(town, "SELECT * FROM study")) == 2


def test_what_is_about_people_is_pruned_with_the_fixes(town: str) -> None:
    for kind in ("assignment", "carpool"):
        assert call(kind, "m")[0] == 0
    assert "study: 0" in command("prune", FLEETPULSE_DATABASE_URL=town).stdout
    with psycopg.connect(town) as connection:
        connection.execute("UPDATE study SET created_at = created_at - interval '40 days'")
    assert "study: 1" in command("prune", "--fix-days", "30", FLEETPULSE_DATABASE_URL=town).stdout
    assert [row["kind"] for row in rows(town, "SELECT * FROM study")] == ["assignment"]


def test_readers_see_what_came_of_it_and_neither_who_was_out_nor_who_asked(town: str) -> None:
    code, text = call("carpool", "m")
    assert code == 0, text
    [kept] = rows(town, "SELECT * FROM study")
    seen = {
        row["attname"]
        for row in rows(
            town,
            "SELECT attname FROM pg_attribute WHERE attrelid = 'reader.study'::regclass "
            "AND attnum > 0",
        )
    }
    assert set(kept) - seen == {"document", "requested_by"}
    for column in ("basis", "explanation"):
        for row in rows(town, "SELECT vehicle_id FROM vehicle"):
            assert row["vehicle_id"] not in kept[column]
