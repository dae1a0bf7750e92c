"""The dashboards in git, and how their queries run: as Grafana does when one opens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.grafana_sql import TimeRange, expand
from tests.sample_fleet import Connection

FOLDER = Path(__file__).parents[1] / "infra" / "grafana" / "dashboards"
DAYS = 14
"""That the sample fleet drives before it is looked at."""
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all panels, those in rows included."""
    entries = []
    for panel in dashboard["panels"]:
        entries += [panel, *panel.get("panels", [])]
    return entries


def targets() -> list[tuple[str, dict[str, Any]]]:
    """Return every query of every panel, with a name for it."""
    return [
        (f"{name}-{panel['id']}-{target['refId']}-{panel['title']}", target)
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
    ]


def choices(
    connection: Connection, dashboard: Mapping[str, Any], shown: TimeRange
) -> dict[str, Sequence[str]]:
    """Choose all values of each variable in turn, as Grafana does when a dashboard opens."""
    chosen: dict[str, Sequence[str]] = {}
    for variable in dashboard["templating"]["list"]:
        query = expand(variable["query"], shown=shown, variables=chosen)
        cursor = connection.execute(query)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        position = names.index("__value") if "__value" in names else 0
        chosen[variable["name"]] = [row[position] for row in cursor.fetchall()]
    return chosen


def run(
    connection: Connection, target: Mapping[str, Any], shown: TimeRange
) -> list[dict[str, Any]]:
    dashboard = next(
        entry
        for entry in DASHBOARDS.values()
        if any(target in panel.get("targets", []) for panel in panels(entry))
    )
    chosen = choices(connection, dashboard, shown)
    cursor = connection.execute(expand(target["rawSql"], shown=shown, variables=chosen))
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    assert len(set(names)) == len(names), "a column hides another of the same name"
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
