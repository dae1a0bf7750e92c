"""Studies of fleets and demand on a real database: the commands, what is stored, what is seen."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.study_town import call, rows

DAY_OFF = date(2026, 6, 3)
"""A Wednesday within the days that are forecast, and nobody's public holiday."""


pytestmark = pytest.mark.usefixtures("environment")


def test_a_composition_is_asked_for_stored_listed_and_shown_again(town: str) -> None:
    code, text = call("fleet-mix", "m", "--points", "3", "--time-limit", "10")
    assert code == 0, text
    [row] = rows(town, "SELECT * FROM study")
    points = row["document"]["points"]
    # 40 km a day each for a year of 365 days: 0.06 l of petrol at 12.33 DKK, or 0.16 kWh at 2.13.
    petrol_dkk = 3 * (20_000 + 365 * 40 * 0.06 * 12.33)
    electric_dkk = 3 * (46_000 + 3_500 + 365 * 40 * 0.16 * 2.13)
    assert points[0]["cost_dkk"] == pytest.approx(petrol_dkk, rel=1e-4)
    assert points[0]["co2e_kg"] == pytest.approx(3 * 365 * 40 * 0.06 * 2.52, rel=1e-4)
    assert points[-1]["cost_dkk"] == pytest.approx(electric_dkk, rel=1e-4)
    assert points[-1]["co2e_kg"] == pytest.approx(3 * 365 * 40 * 0.16 * 0.09, rel=1e-4)
    # 71,000 DKK for 6,000 kg: eight times what CO2e is priced at, so the present fleet stays.
    assert row["document"]["chosen"] == 0
    assert "With CO2e at its price the cheapest fleet has 3 our-petrol-car." in text
    assert row["document"]["proposals"] == []
    assert row["kind"] == "composition"
    assert (row["objective_dkk"], row["gap"]) == (points[0]["cost_dkk"], points[0]["gap"])
    assert 0 <= row["gap"] < 0.001
    code, listed = call("list", "m")
    assert code == 0
    assert f"{row['study_id']}" in listed
    assert call("show", str(row["study_id"])) == (0, text)
    seen = rows(town, "SELECT * FROM reader.composition_point ORDER BY number")
    assert [entry["number"] for entry in seen] == list(range(len(points) + 1))
    assert [entry["is_chosen"] for entry in seen] == [False, True] + [False] * (len(points) - 1)
    assert [entry["cost_dkk"] for entry in seen[1:]] == [point["cost_dkk"] for point in points]
    assert (seen[0]["fleet"], seen[0]["cost_dkk"]) == ("3 our-petrol-car", seen[1]["cost_dkk"])
    assert seen[-1]["fleet"] == "3 ev-car"


def test_the_same_rows_are_the_same_composition_and_name_no_vehicle(town: str) -> None:
    for _ in range(2):
        assert call("fleet-mix", "m", "--points", "3", "--time-limit", "5")[0] == 0
    first, again = rows(town, "SELECT * FROM study ORDER BY created_at")
    assert first["study_id"] != again["study_id"]
    for column in ("inputs_hash", "basis", "document"):
        assert first[column] == again[column]
    for vehicle in rows(town, "SELECT vehicle_id FROM vehicle"):
        assert vehicle["vehicle_id"] not in first["basis"] + first["explanation"]


@pytest.mark.usefixtures("town")
def test_kinds_of_a_file_are_those_to_choose_from(tmp_path: Path) -> None:
    code, printed = call("fleet-mix-kinds")
    assert code == 0
    kinds = json.loads(printed)["kinds"]
    assert [kind["kind_id"] for kind in kinds][:2] == ["petrol-car", "ev-car"]
    [electric] = [kind for kind in kinds if kind["kind_id"] == "ev-car"]
    path = tmp_path / "kinds.json"
    path.write_text(json.dumps({"kinds": [{**electric, "yearly_cost_dkk": 10_000}]}))
    code, text = call("fleet-mix", "m", "--kinds", str(path), "--points", "2")
    assert code == 0, text
    assert "the cheapest fleet has 3 ev-car." in text
    assert "acquire 2 ev-car" in text
    assert "give up 1 (our-petrol-car)" in text
    assert "hall has 0 ev-car; 2 would take 20 of its 20 round trips in 10 days, 800 km." in text
    path.write_text(json.dumps({"kinds": [{**electric, "kind_id": "our-ev"}]}))
    code, text = call("fleet-mix", "m", "--kinds", str(path))
    assert code == 2
    assert "kind our-ev: our-… are the present fleet's; name it otherwise" in text
    path.write_text(json.dumps({"kinds": [{**electric, "charging_kw": None}]}))
    code, text = call("fleet-mix", "m", "--kinds", str(path))
    assert code == 2
    assert "ev-car is electric with range_km 330" in text


def test_what_a_van_drove_needs_one_unless_vans_are_as_cars(town: str) -> None:
    with psycopg.connect(town) as connection:
        connection.execute(
            "UPDATE vehicle SET vehicle_type = 'van', energy_source = 'diesel', "
            "yearly_cost_dkk = 40000 WHERE vehicle_id = 'm/3'"
        )
    for arguments in ((), ("--vans-as-cars",)):
        assert call("fleet-mix", "m", "--points", "2", *arguments)[0] == 0
    strict, loose = rows(town, "SELECT * FROM study ORDER BY created_at")
    assert "what a van drove needs a van" in strict["basis"]
    assert "what a van drove needs no more than a car" in loose["basis"]
    cheapest = [entry["document"]["points"][0]["depots"][1]["counts"] for entry in (strict, loose)]
    assert [(entry["our-diesel-van"], entry["our-petrol-car"]) for entry in cheapest] == [
        (1, 0),
        (0, 1),
    ]
    assert "give up" not in str(strict["document"]["proposals"])
    assert loose["document"]["proposals"][0]["vehicle_id"] == "m/3"


def test_a_fleet_that_cannot_serve_all_says_what_is_missing_and_is_stored(town: str) -> None:
    with psycopg.connect(town) as connection:
        connection.execute("UPDATE depot SET capacity = 1")
    code, text = call("fleet-mix", "m", "--no-own-cars", "--points", "2")
    assert code == 0, text
    assert "Not all round trips can be served. hall lacks a vehicle for 10 round trips" in text
    assert "1 of its 1 parking places are taken" in text
    [row] = rows(town, "SELECT * FROM study")
    assert row["status"] == "infeasible"
    assert (row["objective_dkk"], row["bound_dkk"], row["gap"]) == (None, None, None)
    code, listed = call("list", "m")
    assert code == 0
    assert "composition, infeasible " in listed
    assert ": Not all round trips" in listed
    assert rows(town, "SELECT * FROM reader.composition_point") == []


def test_a_vehicle_that_no_kind_tells_the_cost_of_is_named_with_a_remedy(
    town: str, tmp_path: Path
) -> None:
    with psycopg.connect(town) as connection:
        connection.execute("UPDATE vehicle SET yearly_cost_dkk = 0 WHERE vehicle_id = 'm/2'")
    path = tmp_path / "kinds.json"
    kinds = json.loads(call("fleet-mix-kinds")[1])["kinds"]
    path.write_text(json.dumps({"kinds": [kind for kind in kinds if "bike" in kind["kind_id"]]}))
    code, text = call("fleet-mix", "m", "--kinds", str(path))
    assert code == 1
    assert "m/2 has no yearly cost entered, and no car among the kinds to choose from" in text
    code, text = call("fleet-mix", "m", "--points", "2")
    assert code == 0, text
    assert "1 vehicles have no yearly cost entered, and that of the nearest kind" in text
    for command in ("fleet-mix", "forecast"):
        code, text = call(command, "n")
        assert code == 1
        assert "look further back with --weeks" in text
        code, text = call(command, "q")
        assert code == 2
        assert "municipality q is not entered" in text


@pytest.fixture
def weeks(database_url: str) -> str:
    """Return a town of thirteen weeks: the hall leaves at seven and nine by turns, the school not.

    The hall's two cars leave each workday, at seven in one week and at nine in the next one; the
    school's one at eight. The last local day is Saturday 30 May.
    """
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO municipality (municipality_id, name, timezone, calendar) "
            "VALUES ('m', 'M', 'UTC', %s)",
            [json.dumps({"country": None, "days_off": [str(DAY_OFF)]})],
        )
        connection.execute("INSERT INTO reader_access VALUES (current_user, 'm')")
        for car, depot in ((1, "hall"), (2, "hall"), (3, "school")):
            connection.execute(
                "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
                "VALUES ('m/' || %(name)s, 'm', %(name)s, 56.3, 10.5, 5) ON CONFLICT DO NOTHING",
                {"name": depot},
            )
            connection.execute(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, "
                "home_depot_id) VALUES ('m/' || %(car)s, 'm', %(car)s, 'car', 'm/' || %(depot)s)",
                {"car": str(car), "depot": depot},
            )
            connection.execute(
                "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, start_depot_id, "
                "end_depot_id, home_depot_id, distance_m, trip_count, is_open) "
                "SELECT 'm/' || %(car)s, at, at + interval '1 hour', 'complete', "
                "'m/' || %(depot)s, 'm/' || %(depot)s, 'm/' || %(depot)s, 9000, 2, false "
                "FROM generate_series(0, 90) AS day, LATERAL (SELECT timestamptz "
                "'2026-03-01 00:00Z' + make_interval(days => day, hours => CASE %(depot)s "
                "WHEN 'school' THEN 8 ELSE 7 + 2 * (day / 7 %% 2) END)) AS given (at) "
                "WHERE extract(isodow FROM at) < 6 OR day IN (0, 90)",
                {"car": str(car), "depot": depot},
            )
    return database_url


def test_a_forecast_says_where_it_beats_last_week_and_keeps_days_off(weeks: str) -> None:
    code, text = call("forecast", "m", "--weeks", "26", "--horizon-days", "10")
    assert code == 0, text
    [row] = rows(weeks, "SELECT * FROM study")
    document = row["document"]
    assert (row["kind"], row["status"], row["gap"]) == ("forecast", "complete", None)
    hall, school = document["series"]
    # By turns an hour has its two departures or none: last week errs by both, the mean by half.
    assert (hall["used"], hall["back_test"]["naive_wape"]) == ("seasonal", 2.0)
    assert hall["back_test"]["seasonal_wape"] == pytest.approx(1.0, abs=0.15)
    # What recurs to the letter cannot be beaten.
    assert (school["used"], school["back_test"]["naive_wape"]) == ("same hour last week", 0.0)
    assert "hall car seasonal Over 6 weeks forecast in hindsight" in text
    assert "school car same hour last week Over 6 weeks" in text
    assert "1 holidays and days off among these and the 10 to come" in row["basis"]
    seen = rows(weeks, "SELECT * FROM reader.forecast_day ORDER BY depot_id, local_day")
    assert [entry["depot_id"] for entry in seen] == ["m/hall"] * 10 + ["m/school"] * 10
    first = date.fromisoformat(document["first_day"])
    assert first == date(2026, 5, 30)
    assert [entry["local_day"] for entry in seen[:10]] == [
        first + timedelta(days=number) for number in range(10)
    ]
    expected = {
        entry["local_day"]: entry["departures"] for entry in seen if entry["depot_id"] == "m/hall"
    }
    assert expected[DAY_OFF] == pytest.approx(0, abs=0.01)
    assert expected[DAY_OFF + timedelta(days=1)] == pytest.approx(2, abs=0.3)
    # Saturday, Sunday, and the week that was, which starts anew on the eighth day.
    alike = [entry["departures"] for entry in seen if entry["depot_id"] == "m/school"]
    assert alike == [0, 0, 1, 1, 1, 1, 1, 0, 0, 1]
    assert call("show", str(row["study_id"])) == (0, text)
    code, text = call("forecast", "m", "--weeks", "26", "--horizon-days", "10")
    assert code == 0
    assert [row["document"] for row in rows(weeks, "SELECT * FROM study")] == [document] * 2


@pytest.mark.usefixtures("weeks")
def test_too_few_weeks_are_said_and_not_judged() -> None:
    code, text = call("forecast", "m", "--weeks", "4")
    assert code == 0, text
    assert "days were observed and 70 are needed to judge" in text
    assert "None could be judged in hindsight." in text
    assert "Nothing is optimised: 0 of " in text
    code, text = call("forecast", "m", "--weeks", "1")
    assert code == 1
    assert "whole days of m have been seen, and a forecast takes 7 at least" in text
