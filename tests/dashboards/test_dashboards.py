"""Every dashboard: each panel's and variable's SQL, expanded and executed by a reader's role."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from schemas.fleet.master_data import VehicleType
from tests.dashboard_queries import DASHBOARDS, choices, panels, run, targets
from tests.grafana_sql import TimeRange
from tests.sample_fleet import (
    DEPOTS,
    Connection,
)

DATA_SOURCE = {"type": "grafana-postgresql-datasource", "uid": "fleetpulse"}

TARGETS = [pytest.param(target, id=name) for name, target in targets()]


def is_filled(connection: Connection) -> bool:
    return connection.execute("SHOW test.filled").fetchone() == ("filled",)


def test_there_are_dashboards() -> None:
    assert set(DASHBOARDS) == {"fleet-utilisation", "plans"}
    assert len(TARGETS) >= 12


def test_identifiers_are_unique_and_stable() -> None:
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids)
    for dashboard in DASHBOARDS.values():
        assert re.fullmatch(r"[a-z0-9-]{1,40}", dashboard["uid"])
        assert "id" not in dashboard  # a Grafana's own number has no place in git
        ids = [panel["id"] for panel in panels(dashboard)]
        assert len(set(ids)) == len(ids)
        assert dashboard["timezone"] == "Europe/Copenhagen"


def test_everything_asks_the_one_data_source() -> None:
    for dashboard in DASHBOARDS.values():
        for variable in dashboard["templating"]["list"]:
            assert variable["datasource"] == DATA_SOURCE
        for panel in panels(dashboard):
            if panel["type"] == "row":
                continue
            assert panel["datasource"] == DATA_SOURCE
            assert panel["description"], panel["title"]
            for target in panel["targets"]:
                assert target["datasource"] == DATA_SOURCE
                assert target["format"] in {"table", "time_series"}


def test_panels_do_not_overlap() -> None:
    for dashboard in DASHBOARDS.values():
        taken: set[tuple[int, int]] = set()
        for panel in panels(dashboard):
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells


def test_no_panel_has_a_query_within_that_another_has() -> None:
    """What panels share is a relation of schema `reader`: a new one needs nothing pasted."""
    within = re.compile(r"(?:WITH|,) (\w+ AS \(.*?\n\))", re.DOTALL)
    document: dict[str, str] = {}
    for name, target in targets():
        for query in within.findall(target["rawSql"]):
            assert query not in document, f"{name} and {document[query]} both have: {query}"
            document[query] = name
        assert "DISTINCT ON" not in target["rawSql"], name
    assert document


@pytest.mark.parametrize("target", TARGETS)
def test_a_panels_query_runs_and_finds_what_is_there(
    reader: Connection, target: Mapping[str, Any], range_shown: TimeRange
) -> None:
    rows = run(reader, target, range_shown)
    if not is_filled(reader):
        assert all(value in {0, None} for row in rows for value in row.values())
        return
    assert rows
    if target["format"] == "time_series":
        assert all(isinstance(row["time"], datetime) for row in rows)
        assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
        numbers = [key for key in rows[0] if key not in {"time", "metric"}]
        assert any(row[key] for row in rows for key in numbers)
    assert not [row for row in rows if "Favrskov" in map(str, row.values())]


@pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
def test_variables_offer_the_readers_own_things(
    reader: Connection, dashboard: Mapping[str, Any], range_shown: TimeRange
) -> None:
    chosen = choices(reader, dashboard, range_shown)
    assert chosen["municipality"] == ["syddjurs"]
    if "vehicle_type" in chosen:
        assert set(chosen["vehicle_type"]) == {str(kind) for kind in VehicleType}
    if "depot" in chosen:
        depots = {f"syddjurs/{depot}" for depot in DEPOTS} if is_filled(reader) else set()
        assert set(chosen["depot"]) == {"none"} | depots


def test_each_dashboard_leads_to_the_others_and_offers_what_its_panels_ask_for() -> None:
    for dashboard in DASHBOARDS.values():
        (link,) = dashboard["links"]
        assert link["type"] == "dashboards"
        assert set(link["tags"]) <= set(dashboard["tags"])
        asked = json.dumps([panel.get("targets") for panel in panels(dashboard)])
        for variable in dashboard["templating"]["list"]:
            assert f"${{{variable['name']}" in asked, variable["name"]
