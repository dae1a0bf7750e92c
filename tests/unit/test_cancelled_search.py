"""A cancelled search has no result, whenever it was cancelled."""

from __future__ import annotations

import uuid

import pytest

from optimizer.placement.program import Program
from optimizer.placement.solver import minimise
from optimizer.plan import PLAN_SHARE, PlanMetadata, make_plan
from optimizer.search import Cancellation, Search, SearchCancelledError
from schemas.plans.plan import PlanTrigger
from tests.property.test_placement_optimum import MONDAY
from tests.property.test_plan_reproducible import town

OCCASION = PlanMetadata(uuid.UUID(int=1), PlanTrigger.SCHEDULE, "test", MONDAY)


def test_what_is_cancelled_before_it_begins_does_not_begin() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(SearchCancelledError):
        make_plan(town(seed=1), Search(7, 10, cancellation), OCCASION)


@pytest.mark.parametrize("columns_at_most", [1, 1_000])
def test_neither_relaxation_nor_search_begins_once_cancelled(columns_at_most: int) -> None:
    program = Program()
    program.row([program.column(1, 5), program.column(1, 3)], [1, 1], lowest=1)
    assert minimise(program, [1, 0], Search(7, 10), columns_at_most).values == [0, 1]
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(SearchCancelledError):
        minimise(program, [1, 0], Search(7, 10, cancellation), columns_at_most)


def test_whoever_searches_is_told_to_stop_as_often_as_it_is_cancelled() -> None:
    cancellation = Cancellation()
    entries: list[str] = []

    def search() -> None:
        with cancellation.stopping(lambda: entries.append("stop")):
            cancellation.cancel()
            cancellation.cancel()

    with pytest.raises(SearchCancelledError):
        search()
    assert entries == ["stop", "stop"]
    cancellation.cancel()  # nobody searches any more
    assert entries == ["stop", "stop"]


def test_a_search_that_fails_by_itself_says_so() -> None:
    cancellation = Cancellation()
    with pytest.raises(ZeroDivisionError), cancellation.stopping(cancellation.check):
        raise ZeroDivisionError


def test_who_is_told_how_far_a_search_is_changes_no_plan() -> None:
    entries: list[tuple[float, str]] = []
    search = Search(7, 10, tell=lambda share, at: entries.append((share, at)))
    inputs = town(seed=2)
    assert make_plan(inputs, search, OCCASION) == make_plan(inputs, Search(7, 10), OCCASION)
    shares = [share for share, _ in entries]
    assert shares[0] == 0.0
    assert {share for share in shares if share > 0} == {0.3, PLAN_SHARE}
    assert any(at.startswith("answer 1, ") for _, at in entries)
    assert any(at.startswith("back-test; the plan is optimal") for _, at in entries)


def test_a_way_to_cancel_that_is_not_used_changes_no_plan() -> None:
    inputs = town(seed=2)
    plain = make_plan(inputs, Search(7, 10), OCCASION)
    assert make_plan(inputs, Search(7, 10, Cancellation()), OCCASION) == plain
    assert Search(7, 10, Cancellation()) == Search(7, 10)
