"""What people read on a terminal of 80 columns: numbers, ids and names stay whole."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from infra.database.plans.plan_queries import PlanLine, RequestLine
from infra.database.plans.studies import StudyLine
from infra.database.stream.dead_letters import LetterCount, StoredLetter
from infra.kafka.lag import Lag, PartitionProgress
from schemas.events.dead_letters import DeadLetterReason
from schemas.plans.outcome import PlanState
from schemas.plans.plan import SolverStatus
from stream.cli.operate.dead_letter_view import show_letter, show_letters, show_summary
from stream.cli.operate.offsets import offsets_table
from stream.cli.plans.plan_view import show_list
from stream.studies.render import show_lines
from stream.studies.render_fleets import show_forecast
from stream.studies.render_sites import show_sites
from tests.sample_studies import forecast, sites

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


def printed(show: Callable[[Console], None]) -> str:
    """Return what is printed on 80 columns."""
    out = io.StringIO()
    show(Console(file=out, width=80))
    return out.getvalue()


def test_a_list_of_studies_has_ids_and_answers_that_can_be_read() -> None:
    study_line = StudyLine(
        study_id=uuid.uuid4(),
        created_at=AT,
        requested_by="a coordinator",
        kind="assignment",
        status="feasible",
        objective_dkk=21861.0,
        gap=0.012,
        explanation="108 of 273 round trips have a vehicle; 2 of 10 vehicles are used.",
    )
    text = printed(lambda console: show_lines([study_line], console))
    assert f"{study_line.study_id} assignment, feasible, gap 1.2%" in text
    assert "2026-03-02 06:00 UTC by a coordinator: 108 of 273 round trips" in text
    assert "no study yet" in printed(lambda console: show_lines([], console))


def test_two_weeks_of_forecast_are_two_rows_of_seven_whole_numbers() -> None:
    plan = forecast("syddjurs", AT)
    (series, *_) = plan.series
    hourly = tuple(tuple(0.5 + day for _ in range(24)) for day in range(14))
    longer = plan.model_copy(update={"series": (series.model_copy(update={"hourly": hourly}),)})
    lines = printed(lambda console: show_forecast(longer, console)).splitlines()
    weeks = [line.split() for line in lines if "12.0" in line or "180.0" in line]
    assert [week[-7:] for week in weeks] == [
        ["12.0", "36.0", "60.0", "84.0", "108.0", "132.0", "156.0"],
        ["180.0", "204.0", "228.0", "252.0", "276.0", "300.0", "324.0"],
    ]


def test_what_sites_cost_is_not_folded_within_a_number() -> None:
    plan = sites("syddjurs")
    costs = plan.as_driven.model_copy(update={"sites_dkk": 125_000.0, "staff_dkk": 1_270_596.0})
    text = printed(
        lambda console: show_sites(plan.model_copy(update={"as_driven": costs}), console)
    )
    assert "125,000" in text
    assert "1,270,596" in text


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (SolverStatus.INFEASIBLE, "infeasible: places"),
        (SolverStatus.UNKNOWN, "unknown: places"),
        (SolverStatus.OPTIMAL, None),
    ],
)
def test_a_plan_that_places_nothing_is_told_from_one_without_moves(
    status: SolverStatus, words: str | None
) -> None:
    plan_line = PlanLine(
        plan_id=uuid.uuid4(),
        created_at=AT,
        state=PlanState.PROPOSED,
        status=status,
        decided_by=None,
        moves=0,
        new_homes=0,
        saves_dkk=0.0,
        backtest_ratio=None,
        trigger_reason="asked for by a coordinator",
    )
    text = printed(lambda console: show_list([plan_line], [], console))
    assert (words in text) if words else ("places" not in text)
    assert "back-test" not in text
    assert "no plan yet" in printed(lambda console: show_list([], [], console))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(1.319, "back-test: 32% dearer"), (0.578, "back-test: 42% less"), (1.0, "back-test: 0% less")],
)
def test_what_the_weeks_kept_back_say_of_a_plan_stands_in_the_list(
    ratio: float, words: str
) -> None:
    plan_line = PlanLine(
        plan_id=uuid.uuid4(),
        created_at=AT,
        state=PlanState.PROPOSED,
        status=SolverStatus.OPTIMAL,
        decided_by=None,
        moves=2,
        new_homes=0,
        saves_dkk=483.0,
        backtest_ratio=ratio,
        trigger_reason="drift",
    )
    assert words in printed(lambda console: show_list([plan_line], [], console))


def test_the_setting_that_refused_a_request_can_be_copied() -> None:
    setting = "FLEETPULSE_PLANNER_MIN_ROUND_TRIPS"
    asked = RequestLine(
        request_id=uuid.uuid4(),
        requested_at=AT,
        requested_by="a coordinator",
        outcome=f"refused: 0 round trips in 84 days, at least 280 are needed ({setting})",
    )
    assert setting in printed(lambda console: show_list([], [asked], console))


def a_letter(**other: object) -> StoredLetter:
    """Return a letter whose texts are as long as they may be."""
    letter = StoredLetter(
        letter_id=uuid.uuid4(),
        created_at=AT,
        reason=max(DeadLetterReason, key=len).value,
        detail="value, limit and remedy " * 20,
        vendor="v" * 60,
        municipality_id="m" * 40,
        vehicle_id=f"{'m' * 40}/{'c' * 80}",
        topic="fleetpulse.fixes",
        partition=11,
        record_offset=9_876_543_210,
        item_index=1_999,
        message_key=b"key",
        message_value=b"x" * 500,
    )
    return replace(letter, **other)  # type: ignore[arg-type]


def test_a_list_of_dead_letters_begins_each_with_id_instant_and_reason() -> None:
    letter = a_letter()
    lines = printed(lambda console: show_letters([letter], console)).splitlines()
    assert lines[0] == f"{letter.letter_id.hex[:8]}  2026-03-02 06:00  {letter.reason}"
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(" " * 10) for line in lines[1:])
    whole = "".join(line[10:].strip() for line in lines[1:])
    for part in (letter.vendor, letter.vehicle_id, "fleetpulse.fixes[11]@9876543210", "fix 1999"):
        assert part is not None
        assert part.replace(" ", "") in whole.replace(" ", "")


def test_what_a_vendor_calls_itself_steers_no_terminal() -> None:
    letter = a_letter(
        vendor="a\x1b[2Jb", detail="c\x9bd", message_value=b"\x1b[2J", message_key=None
    )
    for show in (show_letter, lambda entry, console: show_letters([entry], console)):
        text = printed(lambda console, show=show: show(letter, console))  # type: ignore[misc]
        assert not {"\x1b", "\x9b"} & set(text)
        assert "a\\x1b[2Jb" in text


def test_a_summary_of_dead_letters_keeps_reasons_and_numbers_whole() -> None:
    counts = [
        LetterCount(reason.value, vendor, 12_345_678, AT, AT)
        for reason in DeadLetterReason
        for vendor in ("v" * 60, None)
    ]
    lines = printed(lambda console: show_summary(counts, console)).splitlines()
    assert max(map(len, lines)) <= 80
    for reason in DeadLetterReason:
        (_, without_vendor) = [line.split() for line in lines if f" {reason} " in f" {line}"]
        assert without_vendor == [
            *(reason.value, "not", "known", "12,345,678"),
            *("2026-03-02", "2026-03-02"),
        ]


def test_progress_says_how_far_behind_each_partition_is_or_that_it_is_not_known() -> None:
    topic = "fleetpulse.fixes"
    stored = [
        PartitionProgress(topic, 0, 1_234_567_890, AT),
        PartitionProgress(topic, 1, 40, AT),
        PartitionProgress(topic, 2, 7, AT),
        PartitionProgress("another.fixes", 0, 5, AT),
    ]
    lags = {
        0: Lag(1_234_667_890, 100_000, AT - timedelta(minutes=5)),
        1: Lag(30, 0, None),
        2: Lag(7, 0, None),
        3: Lag(12, 12, AT - timedelta(hours=1)),
    }
    table = offsets_table(stored, topic, lags, AT)
    lines = printed(lambda console: console.print(table)).splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if "fixes[" in line]
    moved = ["2026-03-02", "06:00"]
    assert rows == [
        [f"{topic}[0]", "1234567890", "100,000", "300", "s", *moved],
        [f"{topic}[1]", "40", "ends", "at", "30", *moved],
        [f"{topic}[2]", "7", "0", *moved],
        ["another.fixes[0]", "5", "not", "known", *moved],
        [f"{topic}[3]", "none", "12", "3,600", "s", "never"],
    ]
