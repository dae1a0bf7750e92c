"""A run of chaos is good only where it has shown something, and nothing differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.chaos.report import Report


def undisturbed() -> Report:
    return Report(
        faults=Counter(kill_worker=2),
        pushed={("syddjurs/a", datetime(2026, 3, 1, tzinfo=UTC))},
        accepted=1,
        poison=15,
        reader_attempts=3,
        rows={"fix": (1, 0, 0)},
    )


def test_a_run_without_a_difference_is_good() -> None:
    assert undisturbed().is_good
    assert "NOT GOOD" not in undisturbed().text()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.rows.update(trip=(3, 1, 0)),
        lambda report: report.rows.update(trip=(3, 0, 1)),
        lambda report: setattr(report, "lost", 1),
        lambda report: setattr(report, "unpublished", 1),
        lambda report: report.reader_breaches.update(["SELECT * FROM public.fix"]),
        lambda report: report.faults.clear(),
        lambda report: report.pushed.clear(),
        lambda report: setattr(report, "poison", 0),
        lambda report: setattr(report, "reader_attempts", 0),
    ],
)
def test_a_difference_or_a_run_that_shows_nothing_is_not(spoil: Callable[[Report], None]) -> None:
    report = undisturbed()
    spoil(report)
    assert not report.is_good
    assert "NOT GOOD" in report.text()
