"""A position said again after a silence: when it is stale, and when it counts as any other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest

from processors.timeline.fold import step
from processors.timeline.state import begin
from processors.timeline.vehicle_fold import VehicleState, advance
from schemas.events.fix import Fix
from tests.timeline_report import (
    RULES,
    START,
    VEHICLE,
    FixSpec,
    TimelineReport,
    fixes,
    fold_report,
    report_of_changes,
)

OFF, ON = False, True

BEFORE = [FixSpec(0, 0), FixSpec(60, 900), FixSpec(120, 1800)]
STALE = FixSpec(1284, 1800)
AFTER = [FixSpec(1303, 9000), FixSpec(1360, 9600), FixSpec(1420, 10_200), FixSpec(1480, 10_800)]
END = FixSpec(2400, 10_800)
STORY = [*BEFORE, STALE, *AFTER, END]
"""A tracker is out of coverage for 20 minutes, and says its last position once more."""


def _reasons(
    reports: Sequence[Fix], cuts: Sequence[int]
) -> tuple[dict[float, str], TimelineReport]:
    """Fold in portions; return why which fix is left out, and what the last portion says."""
    state: VehicleState | None = None
    reasons: dict[float, str] = {}
    for first, after in pairwise([0, *cuts, len(reports)]):
        state, changes = advance(state, reports[first:after], (), RULES)
        for at, reason in [*changes.refused.items(), *changes.revised.items()]:
            second = (at - START).total_seconds()
            if reason is None:
                reasons.pop(second, None)
            else:
                reasons[second] = reason
    return reasons, report_of_changes(changes)


def test_it_is_stale_where_the_two_fixes_after_it_say_so() -> None:
    result = fold_report(STORY)
    without = fold_report([*BEFORE, *AFTER, END])
    assert result.refused == [(1284, "stale-position")]
    assert (result.segments, result.trips, result.driven_m, result.hours_s) == (
        without.segments,
        without.trips,
        without.driven_m,
        without.hours_s,
    )
    assert result.segments == [("driving", 0, 1480), ("parked", 1480, 2400)]


@pytest.mark.parametrize("cut", range(1, len(STORY)))
def test_it_is_stale_wherever_the_fixes_are_cut(cut: int) -> None:
    reasons, last = _reasons(fixes(STORY), [cut])
    assert reasons == {1284: "stale-position"}
    assert last.trips[-1][1] == 1480


def test_it_is_stale_when_each_fix_comes_alone_and_counts_until_then() -> None:
    reports = fixes(STORY)
    until, entry = _reasons(reports[:4], [1, 2, 3])
    assert (until, entry.trips, entry.open_trips) == ({}, [(0, 120)], 0)
    until, entry = _reasons(reports[:5], [1, 2, 3, 4])
    assert (until, entry.trips) == ({1303: "impossible-leg"}, [(0, 120)])
    reasons, entry = _reasons(reports, range(1, len(reports)))
    assert (reasons, entry.trips) == ({1284: "stale-position"}, [(0, 1480)])


def test_a_step_says_what_it_has_told_of_fixes_before_it() -> None:
    first, *others = fixes(STORY[:6])
    timeline = begin(first)
    for fix in others:
        done = step(timeline, fix, RULES)
        timeline = done.timeline
    assert done.verdicts == {
        START + timedelta(seconds=1284): "stale-position",
        START + timedelta(seconds=1303): None,
    }
    assert (timeline.at, timeline.repeat) == (others[-1].recorded_at, None)


def test_one_wrong_position_after_the_report_of_a_parked_vehicle_is_no_reason_to_doubt_it() -> None:
    night = [FixSpec(1200 * n, 0, OFF, 0) for n in range(10)]
    result = fold_report([*night[:5], FixSpec(4810, 7000, OFF, 0), *night[5:]])
    assert result.refused == [(4810, "impossible-leg")]
    assert (result.segments, result.trips) == ([("parked", 0, 10_800)], [])


def test_two_wrong_positions_that_no_vehicle_reaches_from_each_other_are_none_either() -> None:
    result = fold_report(
        [*BEFORE, STALE, FixSpec(1290, 9000), FixSpec(1300, -7000), FixSpec(2000, 1800)]
    )
    assert result.refused == [(1290, "impossible-leg"), (1300, "impossible-leg")]
    assert result.segments[-1] == ("parked", 120, 2000)


def test_what_no_vehicle_reaches_without_it_is_none_either() -> None:
    """90 km off within 20 minutes: those two are wrong whatever the one before them was."""
    result = fold_report(
        [*BEFORE, STALE, FixSpec(1300, 90_000), FixSpec(1310, 90_100), FixSpec(2000, 1800)]
    )
    assert result.refused == [(1300, "impossible-leg"), (1310, "impossible-leg")]
    assert result.trips == [(0, 120)]


def test_what_was_refused_before_the_two_that_agree_stays_so() -> None:
    result = fold_report([*BEFORE, STALE, FixSpec(1290, -7000), *AFTER, END])
    assert result.refused == [(1284, "stale-position"), (1290, "impossible-leg")]
    assert result.trips == [(0, 1480)]


def test_it_counts_where_the_second_fix_after_it_is_possible() -> None:
    """Nobody knows then which of the two is wrong: the one that came later, as ever."""
    result = fold_report(
        [*BEFORE, STALE, FixSpec(1303, 9000), FixSpec(1603, 12_000), FixSpec(1660, 12_600)]
    )
    assert result.refused == [(1303, "impossible-leg")]
    assert result.trips == [(0, 120), (1284, 1660)]


def test_it_counts_where_the_vehicle_moves_off_as_fast_as_any() -> None:
    result = fold_report([*BEFORE, STALE, FixSpec(1303, 2400), FixSpec(1360, 4000)])
    assert result.refused == []
    assert result.trips == [(0, 120), (1284, 1360)]


def test_it_counts_after_a_silence_shorter_than_a_stop() -> None:
    silent_for_s = 179.0
    stale = FixSpec(120 + silent_for_s, 1800)
    after = [
        FixSpec(stale.at_s + 1, 3000),
        FixSpec(stale.at_s + 2, 3010),
        FixSpec(stale.at_s + 60, 4000),
    ]
    assert [at for at, _ in fold_report([*BEFORE, stale, *after]).refused] == [
        after[0][0],
        after[1][0],
    ]
    later = [entry._replace(at_s=entry.at_s + 1) for entry in (stale, *after)]
    assert fold_report([*BEFORE, *later]).refused == [(later[0].at_s, "stale-position")]


def test_a_position_that_is_not_the_very_same_was_measured_and_counts() -> None:
    result = fold_report([*BEFORE, STALE._replace(north_m=1801), *AFTER[:2]])
    assert result.refused == [(1303, "impossible-leg"), (1360, "impossible-leg")]


@pytest.mark.parametrize(
    ("second_at_s", "refused"),
    [
        # Said twice within a stop's time, it is believed: what follows is refused for a while.
        (1284 + 20, [(at_s, "impossible-leg") for at_s in (1323, 1380, 1440)]),
        # Said twice after silences, the first one counts, and the second one may be stale.
        (1284 + 200, [(1484, "stale-position")]),
    ],
)
def test_of_two_in_a_row_the_first_one_counts(
    second_at_s: float, refused: list[tuple[float, str]]
) -> None:
    again = STALE._replace(at_s=second_at_s)
    later = [entry._replace(at_s=entry.at_s + second_at_s - 1284) for entry in AFTER]
    assert fold_report([*BEFORE, STALE, again, *later]).refused == refused


def test_after_hours_of_silence_the_vehicle_was_elsewhere() -> None:
    hours = 7200
    later = [entry._replace(at_s=entry.at_s + hours) for entry in (STALE, *AFTER, END)]
    result = fold_report([*BEFORE, *later])
    assert result.refused == [(1284 + hours, "stale-position")]
    assert result.segments[1] == ("offline", 120, 1303 + hours)
    assert result.trips == [(0, 120), (1303 + hours, 1480 + hours)]


def test_it_counts_where_private_mode_follows_it() -> None:
    hidden = Fix(
        vehicle_id=VEHICLE.vehicle_id,
        recorded_at=START + timedelta(seconds=1303),
        private_mode=True,
    )
    _, changes = advance(None, [*fixes([*BEFORE, STALE]), hidden, *fixes(AFTER[1:])], (), RULES)
    result = report_of_changes(changes)
    assert result.segments[:3] == [
        ("driving", 0, 120),
        ("parked", 120, 1284),
        ("offline", 1284, 1480),
    ]
    assert result.refused == [(1360, "impossible-leg"), (1420, "impossible-leg")]


def test_a_fix_before_it_is_refused_as_late() -> None:
    state, _ = advance(None, fixes([*BEFORE, STALE]), (), RULES)
    with pytest.raises(ValueError, match="is not after the last one at 2026-03-02 08:21:24"):
        advance(state, fixes([FixSpec(1000, 5000)]), (), RULES)
