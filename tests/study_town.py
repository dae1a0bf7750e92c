"""A small town to study, and the commands that study it."""

from __future__ import annotations

from typing import Any

import psycopg
import typer
from psycopg.rows import dict_row
from typer.testing import CliRunner

from stream.cli.edge import Edge
from stream.cli.studies.study import study

_app = typer.Typer(cls=Edge)
_app.add_typer(study, name="study")


def call(*arguments: str, stdin: str | None = None) -> tuple[int, str]:
    """Run a command; return its code, and what it said with single spaces."""
    done = CliRunner().invoke(_app, ["study", *arguments], input=stdin)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


def rows(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def enter_town(database_url: str) -> None:
    """Enter a town in which two cars of the hall and one of the school drive alike, ten days."""
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('m', 'M')")
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('n', 'N')")
        for depot, lat in (("hall", 56.30), ("school", 56.305)):
            connection.execute(
                "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
                "VALUES ('m/' || %(name)s, 'm', %(name)s, %(lat)s, 10.5, 5)",
                {"name": depot, "lat": lat},
            )
        for car, depot, minute in ((1, "hall", 0), (2, "hall", 5), (3, "school", 5)):
            connection.execute(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, "
                "energy_source, consumption_per_km, yearly_cost_dkk, home_depot_id) "
                "VALUES ('m/' || %(car)s, 'm', %(car)s, 'car', 'petrol', 0.06, 20000, %(depot)s)",
                {"car": str(car), "depot": f"m/{depot}"},
            )
            connection.execute(
                "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, start_depot_id, "
                "end_depot_id, home_depot_id, distance_m, trip_count, is_open) "
                "SELECT 'm/' || %(car)s, at, at + interval '160 min', 'complete', %(depot)s, "
                "%(depot)s, %(depot)s, 40000, 2, false FROM generate_series(0, 9) AS day, "
                "LATERAL (SELECT timestamptz '2026-03-02 07:00Z' + make_interval(days => day, "
                "mins => %(minute)s) AS at) AS given",
                {"car": str(car), "depot": f"m/{depot}", "minute": minute},
            )
        # There in half an hour, an hour and forty minutes of stay, and back.
        connection.execute(
            "INSERT INTO trip (vehicle_id, started_at, ended_at, distance_m, driving_s, idling_s, "
            "start_lat, start_lon, end_lat, end_lon, start_depot_id, end_depot_id, is_open) "
            "SELECT r.vehicle_id, r.started_at + make_interval(mins => leg * 130), "
            "r.started_at + make_interval(mins => leg * 130 + 30), 20000, 1800, 0, "
            "d.lat + leg * (56.42 - d.lat), 10.5, 56.42 + leg * (d.lat - 56.42), 10.5, "
            "CASE leg WHEN 0 THEN d.depot_id END, CASE leg WHEN 1 THEN d.depot_id END, false "
            "FROM round_trip r JOIN depot d ON d.depot_id = r.start_depot_id, "
            "generate_series(0, 1) AS leg"
        )
