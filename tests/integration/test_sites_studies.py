"""Studies of sites on a real database: the command, what is stored, and what readers see."""

from __future__ import annotations

import psycopg
import pytest
from pyproj import Geod

from tests.study_town import call, rows

AWAY_KM = 1.3 * Geod(ellps="WGS84").inv(10.5, 56.30, 10.5, 56.42)[2] / 1000
SCHOOL_AWAY_KM = 1.3 * Geod(ellps="WGS84").inv(10.5, 56.305, 10.5, 56.42)[2] / 1000
DKK_PER_KM = 0.06 * (12.33 + 2.52 * 1.5) + 300 / 50
A_YEAR = 365.25 / 10


pytestmark = pytest.mark.usefixtures("environment")


def test_sites_are_asked_for_stored_listed_and_shown_again(town: str) -> None:
    code, text = call("depot-location", "m", "--places", "0")
    assert code == 0, text
    [row] = rows(town, "SELECT * FROM study")
    document = row["document"]
    # The school is nearer to where all go; 30 round trips in ten days, 20 of them from the hall.
    driven = (20 * AWAY_KM + 10 * SCHOOL_AWAY_KM) * 2 * DKK_PER_KM * A_YEAR
    assert document["as_driven"]["cost_dkk"] == pytest.approx(50_000 + driven)
    proposed = 25_000 + 30 * SCHOOL_AWAY_KM * 2 * DKK_PER_KM * A_YEAR
    assert row["objective_dkk"] == pytest.approx(proposed)
    assert (row["kind"], row["status"], row["gap"]) == ("sites", "optimal", 0)
    assert f"Keep school; close hall. A year costs {proposed:,.0f} DKK" in text
    assert f"the depots as they are cost {50_000 + driven:,.0f} DKK" in text
    assert f"It costs {proposed:,.0f} DKK a year, and nothing costs less." in text
    assert "Closing hall puts no round trip further" in text
    assert "It is the only site: all 1,096 round trips a year are served from it." in text
    code, listed = call("list", "m")
    assert code == 0
    assert f"{row['study_id']}" in listed
    assert "sites, optimal, gap 0.0%" in listed
    assert call("show", str(row["study_id"])) == (0, text)


def test_readers_see_sites_and_costs_and_places_to_a_hundredth_of_a_degree(town: str) -> None:
    with psycopg.connect(town) as connection:
        connection.execute("UPDATE trip SET end_lat = 56.4237 WHERE end_lat > 56.4")
    code, text = call("depot-location", "m")
    assert code == 0, text
    assert "Close hall, school; open place 1 (near 56.42, 10.50)." in text
    [row] = rows(town, "SELECT * FROM study")
    assert "56.424" not in str(row["document"])
    seen = rows(town, "SELECT * FROM reader.site_finding ORDER BY number")
    assert [(entry["site_id"], entry["kind"], entry["is_open"]) for entry in seen] == [
        ("hall", "depot", False),
        ("school", "depot", False),
        ("place 1", "place", True),
    ]
    assert (seen[2]["lat"], seen[2]["lon"], seen[2]["capacity"]) == (56.42, 10.5, None)
    assert [entry["reason"] for entry in seen] == [
        entry["reason"] for entry in row["document"]["sites"]
    ]
    costs = rows(town, "SELECT * FROM reader.site_cost ORDER BY number")
    assert [cost["sites_are"] for cost in costs] == ["as_driven", "nearest", "proposed"]
    assert costs[2]["cost_dkk"] == row["objective_dkk"]
    assert costs[0]["co2e_kg"] == pytest.approx(costs[0]["distance_m"] / 1000 * 0.06 * 2.52)
    for vehicle in rows(town, "SELECT vehicle_id FROM vehicle"):
        assert vehicle["vehicle_id"] not in str(row["document"])
    with psycopg.connect(town) as connection:
        connection.execute("DELETE FROM reader_access")
    assert rows(town, "SELECT * FROM reader.site_finding") == []
    assert rows(town, "SELECT * FROM reader.site_cost") == []


def test_the_same_rows_are_the_same_answer(town: str) -> None:
    for _ in range(2):
        assert call("depot-location", "m", "--sites", "2", "--seed", "7")[0] == 0
    first, again = rows(town, "SELECT * FROM study ORDER BY created_at")
    assert first["study_id"] != again["study_id"]
    for column in ("inputs_hash", "basis", "document"):
        assert first[column] == again[column]
    assert first["document"]["seed"] == 7


def test_options_are_heeded(town: str) -> None:
    code, text = call(
        "depot-location", "m", "--places", "0", "--keep", "hall", "--depot-cost", "hall=9000"
    )
    assert code == 0, text
    assert "Keep hall" in text
    assert "It must stay, as asked." in text
    assert "A depot costs 25,000 DKK a year, hall 9,000." in text
    code, text = call("depot-location", "m", "--sites", "2", "--places", "0", "--site-cost", "1000")
    assert code == 0, text
    assert "Keep hall, school. With exactly 2 sites, as asked." in text
    assert "A depot costs 1,000 DKK a year." in text
    code, text = call("depot-location", "m", "--no-staff-time", "--weeks", "1")
    assert code == 0, text
    assert "and not the time of who drives" in text
    assert "21 of 21 complete round trips of 2026-03-05 to 2026-03-11 (7 days)" in text
    assert (
        rows(town, "SELECT * FROM study ORDER BY created_at")[-1]["document"]["as_driven"][
            "staff_dkk"
        ]
        == 0
    )


def test_what_cannot_be_is_said_with_a_remedy(town: str) -> None:
    for options, words in (
        (("--keep", "yard"), "m has no depot 'yard' that could stay; it has hall, school"),
        (("--sites", "9"), "9 sites are asked for, and there are 3 to choose from"),
        (("--sites", "1", "--keep", "hall", "--keep", "school"), "and 2 must stay (hall, school)"),
        (("--depot-cost", "hall"), "'hall' is no depot and its DKK a year"),
        (("--depot-cost", "hall=nan"), "give --depot-cost DEPOT=DKK"),
        (("--depot-cost", "hall=1", "--depot-cost", "hall=2"), "names hall twice"),
    ):
        code, text = call("depot-location", "m", *options)
        assert code == 2, text
        assert words in text
    code, text = call("depot-location", "q")
    assert code == 2
    assert "municipality q is not entered; `fleetpulse fleet show` lists" in text
    code, text = call("depot-location", "n")
    assert code == 1
    assert "0 came back; push more fixes, enter depots and vehicles" in text
    assert rows(town, "SELECT * FROM study") == []
