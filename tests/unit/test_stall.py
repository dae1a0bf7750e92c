"""When a worker counts as stuck, and what gets it out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from infra.database.stream.progress import Partition
from infra.kafka.client import Watermarks
from stream.worker.recovery.stall import LOOK_EVERY_S, Look, RecoveryStep, StallDetector

OURS, THEIRS = Partition("fixes", 0), Partition("fixes", 1)


class Stream:
    """A topic over time, and a detector that looks at it."""

    def __init__(
        self, *, owned: Iterable[Partition] | None = (OURS,), session_s: float = 6
    ) -> None:
        self.detector = StallDetector(session_s)
        self.owned = None if owned is None else frozenset(owned)
        self.at_s = 0.0
        self.progress: dict[Partition, int] = {}
        self.ends: dict[Partition, int] = {}
        self.busy = False
        self.problem: str | None = None

    def look_for(
        self, seconds: float, moves: Mapping[Partition, int] | None = None
    ) -> list[tuple[float, RecoveryStep]]:
        """Look for so long; return the steps that are asked for, and when.

        `moves` are records processed from one look to the next.
        """
        steps = []
        until_s = self.at_s + seconds
        while self.at_s < until_s:
            self.at_s += LOOK_EVERY_S
            for partition, count in (moves or {}).items():
                self.progress[partition] = self.progress.get(partition, 0) + count
            verdict = self.detector.judge(
                Look(
                    at_s=self.at_s,
                    owned=self.owned,
                    busy=self.busy,
                    progress=dict(self.progress),
                    held={place: Watermarks(0, end) for place, end in self.ends.items()},
                )
            )
            self.problem = verdict.problem
            if verdict.step is not None:
                assert verdict.reason
                steps.append((self.at_s, verdict.step))
                self.detector.forget()  # as the watchdog does
        return steps


def test_records_that_wait_have_the_consumer_rebuilt_and_then_the_process_end() -> None:
    stream = Stream()
    stream.ends = {OURS: 7}
    steps = stream.look_for(60)
    assert [step for _, step in steps[:2]] == [RecoveryStep.REBUILD, RecoveryStep.END]
    assert steps[1][0] <= 60


def test_a_rebuild_that_helped_is_not_held_against_the_next_one() -> None:
    stream = Stream()
    stream.ends = {OURS: 7}
    assert [step for _, step in stream.look_for(25)] == [RecoveryStep.REBUILD]
    stream.progress = {OURS: 7}
    assert stream.look_for(10) == []
    stream.ends = {OURS: 9}
    assert [step for _, step in stream.look_for(25)] == [RecoveryStep.REBUILD]


def test_it_says_that_it_is_not_ready_before_it_does_anything() -> None:
    stream = Stream()
    stream.ends = {OURS: 7}
    assert stream.look_for(15) == []
    assert stream.problem is not None
    assert "7 records wait in fixes[0]" in stream.problem


def test_progress_that_moves_is_no_stall_however_far_behind_it_is() -> None:
    stream = Stream()
    stream.ends = {OURS: 1_000_000}
    assert stream.look_for(600, {OURS: 1}) == []
    assert stream.problem is None


def test_a_partition_without_records_is_no_stall() -> None:
    stream = Stream()
    stream.ends, stream.progress = {OURS: 7}, {OURS: 7}
    assert stream.look_for(3600) == []


def test_a_batch_that_takes_long_is_no_stall_for_five_minutes() -> None:
    stream = Stream()
    stream.ends, stream.busy = {OURS: 7}, True
    assert stream.look_for(290) == []
    assert [step for _, step in stream.look_for(30)] == [RecoveryStep.REBUILD]


def test_a_process_that_stood_still_measures_anew() -> None:
    stream = Stream()
    stream.ends = {OURS: 7}
    assert stream.look_for(15) == []
    stream.at_s += 600
    assert stream.look_for(15) == []


def test_a_group_that_lets_nobody_in_is_left_within_a_minute_and_ever_more_patiently() -> None:
    for session_s in (6.0, 45.0):
        stream = Stream(owned=None, session_s=session_s)
        steps = stream.look_for(1200)
        assert {step for _, step in steps} == {RecoveryStep.NEW_GROUP}
        times = [0.0, *(at_s for at_s, _ in steps)]
        assert times[1] <= 60
        waits = [after - before for before, after in pairwise(times)]
        assert waits == sorted(waits)
        assert len(steps) <= 6


def test_a_rebalance_does_not_make_a_worker_unready_that_was_let_in_before() -> None:
    stream = Stream(owned=None)
    stream.look_for(5)
    assert stream.problem is not None
    stream.owned = frozenset({OURS})
    stream.look_for(5)
    stream.owned = None
    stream.look_for(10)
    assert stream.problem is None
    stream.look_for(10)
    assert stream.problem is not None
    stream.owned = frozenset({OURS})
    stream.detector.begin()
    stream.owned = None
    stream.look_for(5)
    assert stream.problem is not None


def test_a_session_that_runs_out_is_waited_for_before_a_group_is_left() -> None:
    stream = Stream(owned=None, session_s=45)
    assert stream.look_for(45) == []
    stream.owned = frozenset({OURS})
    assert stream.look_for(600) == []


def test_a_partition_that_nobody_processes_moves_all_workers_to_a_new_group() -> None:
    stream = Stream(owned=())
    stream.ends = {THEIRS: 3}
    steps = stream.look_for(45)
    assert [step for _, step in steps] == [RecoveryStep.NEW_GROUP]
    assert stream.problem is None, "a surplus worker is ready"


def test_a_surplus_worker_is_ready_and_leaves_the_others_alone() -> None:
    stream = Stream(owned=())
    stream.ends = {THEIRS: 1_000_000}
    assert stream.look_for(3600, {THEIRS: 10}) == []
    assert stream.problem is None
