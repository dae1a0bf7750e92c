"""Grafana's variables and macros, as they are expanded for the tests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.grafana_sql import SqlExpansionError, TimeRange, expand


def test_macros_expand_as_documented() -> None:
    shown = TimeRange(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    cases = {
        "$__timeFilter(t.at)": "t.at BETWEEN '2026-03-01T00:00:00Z' AND '2026-03-02T00:00:00Z'",
        "$__timeFrom()::timestamptz": "'2026-03-01T00:00:00Z'::timestamptz",
        "$__timeTo()": "'2026-03-02T00:00:00Z'",
        "$__timeGroup(at, '5m')": "floor(extract(epoch from at)/300)*300",
        "$__timeGroupAlias(at, $__interval)": (
            'floor(extract(epoch from at)/86400)*86400 AS "time"'
        ),
        "$__interval_ms": "86400000",
        "IN (${names:sqlstring})": "IN ('a','o''b')",
        "${one} $one": "x x",
    }
    for query, expected in cases.items():
        variables = {"names": ["a", "o'b"], "one": "x"}
        assert expand(query, shown=shown, variables=variables) == expected


@pytest.mark.parametrize(
    "query",
    ["$__nothing(at)", "$__timeFilter()", "$__timeGroup(at, 'soon')", "$unknown", "${names}"],
)
def test_what_grafana_would_not_expand_is_an_error(query: str) -> None:
    now = datetime.now(UTC)
    with pytest.raises(SqlExpansionError):
        expand(query, shown=TimeRange(now, now), variables={"names": ["a"]})
