"""What certain panels say of the sample fleet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from processors.alerts.underuse import VehicleUse, underused
from schemas.fleet.rules import Rules
from tests.dashboard_queries import DASHBOARDS, DAYS, panels, run
from tests.grafana_sql import TimeRange
from tests.sample_fleet import (
    IDLING_MIN,
    VEHICLES,
    Connection,
    recent_start,
)
from tests.sample_studies import HORIZON_DAYS


def target_of(title: str) -> Mapping[str, Any]:
    entries = [
        panel["targets"][0]
        for dashboard in DASHBOARDS.values()
        for panel in panels(dashboard)
        if panel["title"] == title
    ]
    assert len(entries) == 1, title
    target: Mapping[str, Any] = entries[0]
    return target


@pytest.mark.parametrize("filling", ["filled"])
def test_the_overview_adds_up(reader: Connection, range_shown: TimeRange) -> None:
    [row] = run(reader, target_of("The chosen vehicles in the chosen time"), range_shown)
    assert row["Vehicles"] == len(VEHICLES)
    assert row["Trips"] == len(VEHICLES) * DAYS
    assert row["Driven"] == pytest.approx(sum(vehicle[3] for vehicle in VEHICLES) * DAYS)
    used_min = sum(vehicle[4] + IDLING_MIN for vehicle in VEHICLES) / len(VEHICLES)
    assert float(row["Time in use"]) == pytest.approx(used_min / 1440, rel=0.05)
    assert float(row["Of available time"]) == pytest.approx(used_min / 540, rel=0.05)


@pytest.mark.parametrize("filling", ["filled"])
def test_the_hours_of_a_vehicles_day_are_all_there(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Hours driving, idling, parked and offline"), range_shown)
    hours = sum(float(row[key]) for row in rows for key in row if key != "time")
    assert hours == pytest.approx(24 * DAYS * len(VEHICLES))


@pytest.mark.parametrize("filling", ["filled"])
def test_km_precision_is_told_by_home_and_only_complete_round_trips_count(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Km precision by home depot"), range_shown)
    assert [(row["Home then"], row["Precision"]) for row in rows] == [
        ("(not known)", 0),
        ("North", 1),
        ("South", 1),
    ]
    assert sum(row["Round trips"] for row in rows) == len(VEHICLES) * DAYS
    driven = {row["Home then"]: row["All"] for row in rows}
    km = {None: 0.0, "north": 0.0, "south": 0.0}
    for _, _, depot, km_a_day, _ in VEHICLES:
        km[depot] += km_a_day * DAYS
    assert driven["North"] == pytest.approx(km["north"])
    assert rows[0]["Open"] == pytest.approx(km[None])


@pytest.mark.parametrize("filling", ["filled"])
def test_time_away_is_none_of_the_time_at_a_depot(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Time away from depots"), range_shown)
    assert {float(row["away"]) for row in rows if row["metric"] == "(no depot)"} == {1.0}
    # Of the first and the last local day an hour is missing, or all but one.
    north = sorted(float(row["away"]) for row in rows if row["metric"] == "North")
    # Two cars are out for as long as they drive and idle, 60 and 48 minutes.
    assert north[len(north) // 2] == pytest.approx((60 + 48) / 2 / 1440)


@pytest.mark.parametrize("filling", ["filled"])
def test_underuse_is_judged_as_the_processor_judges_it(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Underused vehicles"), range_shown)
    fleet = [
        VehicleUse(
            vehicle_id=name,
            vehicle_class=vehicle_type,
            distance_km=km_a_day * DAYS,
            engine_h=(driving_min + IDLING_MIN) / 60 * DAYS,
            days_used=DAYS,
            available_h=9.0 * DAYS,
            used_available_h=(driving_min + IDLING_MIN) / 60 * DAYS,
        )
        for name, vehicle_type, _, km_a_day, driving_min in VEHICLES
    ]
    window_days = (range_shown.end - range_shown.start) / timedelta(days=1)
    expected = underused(fleet, window_days=window_days, rules=Rules())
    assert [row["Vehicle"] for row in rows] == [entry.vehicle_id for entry in expected]
    assert [row["Vehicle"] for row in rows] == ["car-3", "stray"]
    for row, entry in zip(rows, expected, strict=True):
        assert float(row["km a year"]) == pytest.approx(entry.km_a_year, rel=1e-3)
        assert float(row["Engine hours a year"]) == pytest.approx(entry.engine_h_a_year, rel=1e-3)
        assert entry.used_share is not None
        assert float(row["Of available time"]) == pytest.approx(entry.used_share, rel=0.05)
        assert row["Days used"] == entry.days_used
        assert row["Limit"] == Rules().underused_below_km_a_year
    for column, rule in (
        ("Hours limit", Rules().underused_below_engine_h_a_year),
        ("Available limit", Rules().underused_below_available_share),
    ):
        assert rows[0][column] == rule
    assert rows[0]["Share limit"] == Rules().underused_below_class_share


@pytest.mark.parametrize("filling", ["filled"])
def test_the_plan_shows_its_moves_and_its_saving(
    reader: Connection, range_shown: TimeRange
) -> None:
    [plan] = run(reader, target_of("Placement plan"), range_shown)
    assert (plan["Moves"], plan["New homes"], plan["Saving"]) == (1, 0, 3000)
    [move] = run(reader, target_of("Moves of the plan"), range_shown)
    assert (move["Vehicle"], move["From"], move["To"]) == ("car-3", "South", "North")
    [lending] = run(reader, target_of("Lendings of the plan"), range_shown)
    assert (lending["Fetches"], lending["From"], lending["Saving"]) == ("South", "North", 180)


PLAN_PANELS = (
    "Placement plan",
    "Moves of the plan",
    "Lendings of the plan",
    "Back-test of the plan",
    "What the back-test of the plan says",
)


@pytest.mark.parametrize("filling", ["filled"])
def test_an_accepted_plan_stays_in_sight_when_others_are_proposed(
    reader: Connection, fleet_url: str, range_shown: TimeRange
) -> None:
    def states() -> set[str]:
        return {
            row["State"]
            for name in PLAN_PANELS
            for row in run(reader, target_of(name), range_shown)
        }

    with psycopg.connect(fleet_url, autocommit=True) as owner:
        for state, days in (("superseded", 1), ("proposed", 2), ("rejected", 3)):
            owner.execute(
                "INSERT INTO plan SELECT (p).* FROM (SELECT jsonb_populate_record(p, "
                "jsonb_build_object('plan_id', gen_random_uuid(), 'state', %s::text, 'created_at', "
                "p.created_at + make_interval(days => %s), 'accepted_at', NULL, 'accepted_by', "
                "NULL, 'followed_from', NULL) || CASE %s::text WHEN 'rejected' THEN '{}' ELSE "
                '\'{"decided_at": null, "decided_by": null}\'::jsonb END) AS p FROM plan p '
                "WHERE municipality_id = 'syddjurs' AND state = 'accepted') AS copied",
                [state, days, state],
            )
        assert states() == {"accepted"}
        owner.execute("UPDATE plan SET state = 'superseded' WHERE state = 'accepted'")
        assert states() == {"proposed"}


@pytest.mark.parametrize("filling", ["filled"])
def test_readers_learn_nobodys_name_from_plans(reader: Connection, fleet_url: str) -> None:
    with psycopg.connect(fleet_url, autocommit=True) as owner:
        owner.execute(
            "UPDATE plan SET trigger = 'on-request', trigger_reason = 'asked for by Ea Lund', "
            "decided_by = 'Ea Lund', accepted_by = 'Ea Lund', document = document "
            "|| jsonb_build_object('trigger_reason', 'asked for by Ea Lund')"
        )
    rows = reader.execute("SELECT to_jsonb(p)::text FROM reader.plan p").fetchall()
    assert len(rows) == 1
    assert "Ea Lund" not in rows[0][0]
    [kept] = reader.execute(
        "SELECT state, trigger_reason, document ->> 'trigger_reason', accepted_at IS NOT NULL, "
        "decided_at IS NOT NULL FROM reader.plan"
    ).fetchall()
    assert kept == ("accepted", "asked for", "asked for", True, True)


@pytest.mark.parametrize("filling", ["filled"])
def test_the_back_test_shows_all_contenders_beside_the_fleet_as_it_was(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Back-test of the plan"), range_shown)
    assert [(row["Contender"], row["Moves"], row["Served"]) for row in rows] == [
        ("as it was", 0, 0.8),
        ("greedy", 1, 0.8),
        ("plan", 1, 0.95),
    ]
    assert [row["Cost"] for row in rows] == [1080, 1100, 950]
    assert [row["Cost beside as it was"] for row in rows] == pytest.approx(
        [1, 1100 / 1080, 950 / 1080]
    )
    parts = ("Unserved", "Energy", "Fetching", "CO2e priced", "Moving", "Chargers")
    assert [sum(row[part] for part in parts) for row in rows] == [row["Cost"] for row in rows]
    assert {(row["Weeks fitted"], row["Weeks replayed"]) for row in rows} == {(6, 2)}
    [document] = run(reader, target_of("What the back-test of the plan says"), range_shown)
    assert document["In words"].startswith("The plan costs 12.0% less")


@pytest.mark.parametrize("filling", ["filled"])
def test_fleets_lie_between_cost_and_co2e_beside_the_one_that_stands(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Fleets between cost and CO2e"), range_shown)
    assert [(row["Fleet"], row["Cost a year"], row["CO2e a year"], row["Gap"]) for row in rows] == [
        ("as it stands", 150_000, 5_000, None),
        ("", 100_000, 4_000, 0.1),
        ("chosen", 120_000, 1_000, 0.1),
    ]
    # The north has three, two and one of ours; the south one of each kind.
    assert [row["Vehicles"] for row in rows] == [
        "1 ev-car, 4 our-petrol-car",
        "1 ev-car, 3 our-petrol-car",
        "2 ev-car, 2 our-petrol-car",
    ]


@pytest.mark.parametrize("filling", ["filled"])
def test_departures_to_come_are_added_up_by_depot_and_day(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Departures to come"), range_shown)
    assert [row["Depot"] for row in rows] == ["North"] * HORIZON_DAYS
    assert [row["Expected departures"] for row in rows] == [8.0] * HORIZON_DAYS
    assert [row["By the seasonal model"] for row in rows] == [0.75] * HORIZON_DAYS
    assert {row["By class"] for row in rows} == {"car 6.0, van 2.0"}
    first, second = (row["Day"] for row in rows)
    assert (second - first).days == 1


@pytest.mark.parametrize("filling", ["filled"])
def test_sites_to_keep_close_and_open_stand_beside_what_they_cost(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Where vehicles should stand"), range_shown)
    assert [(row["Site"], row["Proposed"]) for row in rows] == [
        ("North", "keep"),
        ("South", "close"),
        ("place 1", "open"),
    ]
    assert rows[1]["Spares of driving"] == 9_300
    assert rows[1]["Why"].startswith("Closing south puts 1,240 round trips a year 2.1 km further")
    rows = run(reader, target_of("What sites cost a year"), range_shown)
    assert [(row["Sites"], row["For sites"], row["All"]) for row in rows] == [
        ("depots as they are", 50_000, 150_000),
        ("depots, each round trip from the nearest", 50_000, 130_000),
        ("proposed", 55_000, 95_000),
    ]


@pytest.mark.parametrize("filling", ["filled"])
def test_a_vehicles_available_time_is_shown_with_several_numbers(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Utilisation of each vehicle's available time"), range_shown)
    assert [row["Vehicle"] for row in rows] == ["car-3", "stray", "van-1", "car-2", "car-1"]
    used = {entry[0]: (entry[4] + IDLING_MIN) / 60 for entry in VEHICLES}
    for row in rows:
        # The last UTC day ends in the small hours of a local one, before the first shift.
        assert float(row["Available"]) == 9 * DAYS
        assert float(row["On a trip"]) == pytest.approx(used[row["Vehicle"]] / 9)
        assert float(row["Away"]) == pytest.approx(used[row["Vehicle"]] / 9)
        assert float(row["Engine hours"]) == pytest.approx(used[row["Vehicle"]] * DAYS)
        assert (row["Days used"], row["Days available"]) == (DAYS, DAYS)
        assert row["Used beyond"] == 0


@pytest.mark.parametrize("filling", ["filled"])
def test_a_depots_peak_is_what_was_out_at_once_beside_what_is_at_home(
    reader: Connection, range_shown: TimeRange
) -> None:
    rows = run(reader, target_of("Peak of each depot"), range_shown)
    assert [(row["Depot"], row["At home"], row["Peak"]) for row in rows] == [
        ("North", 2, 2),
        ("South", 2, 2),
    ]
    assert {row["Days all out"] for row in rows} == {DAYS}
    hours = run(reader, target_of("Vehicles out at once"), range_shown)
    noon = {row["time"] for row in hours if row["out"]}
    assert noon == {recent_start(DAYS) + timedelta(days=day, hours=12) for day in range(DAYS)}
    assert {row["supply"] for row in hours} == {2}


@pytest.mark.parametrize("filling", ["filled"])
def test_use_by_weekday_and_hour_lies_at_noon(reader: Connection, range_shown: TimeRange) -> None:
    rows = run(reader, target_of("When vehicles are in use"), range_shown)
    assert [row["Hour"] for row in rows] == [f"{hour:02}:00" for hour in range(24)]
    used = {row["Hour"] for row in rows if any(row[day] for day in ("Mon", "Tue", "Sun"))}
    # Noon in UTC is one or two o'clock in Copenhagen.
    assert used <= {"13:00", "14:00"}
    assert used
