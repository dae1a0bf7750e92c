"""Decides from what is seen of a topic whether a worker is stuck, and what gets it out.

Faust and aiokafka are known to fall silent after a broker was away or a group was rebalanced: no
fetch is sent for a partition, no error is raised, and offsets stand (faust-streaming/faust#523,
#602, #629, robinhood/faust#458). So no cause is looked for here: whatever it is, records wait, the
progress stands, and nobody says what for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from infra.database.stream.progress import Partition
from infra.kafka.client import Watermarks

LOOK_EVERY_S: Final = 5.0
"""From one look to the next."""
_NOT_READY_AFTER_S: Final = 10.0
_STALLED_AFTER_S: Final = 18.0
"""Records wait so long in a partition of ours, and we are not busy: we are stuck."""
_BUSY_LIMIT_S: Final = 300.0
"""The same while we write a batch, which may take its time."""
_GROUP_LIMIT_S: Final = 30.0
_GROUP_MARGIN_S: Final = 10.0
_MOST_PATIENCE: Final = 64
_FROZEN_FOR_S: Final = 45.0
"""Nothing takes so long from one look to the next, a new app between them included."""


class RecoveryStep(Enum):
    """What gets a stuck worker out, from the mildest on."""

    REBUILD = "rebuild"
    """Leave the group, and build consumer and Faust app anew in the same process."""
    NEW_GROUP = "new-group"
    """Have all workers leave the group for a new one: the broker's state of the old is stuck."""
    END = "end"
    """End the process: its supervisor starts another."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen at once of a topic and of a worker's part in it."""

    at_s: float
    owned: frozenset[Partition] | None
    """Partitions that the group gives us; None while it has not let us in."""
    busy: bool
    """A batch is being written."""
    progress: Mapping[Partition, int]
    held: Mapping[Partition, Watermarks]
    """What the broker holds of each partition that is known."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a look."""

    problem: str | None = None
    """Why the worker is not ready, or None."""
    step: RecoveryStep | None = None
    reason: str = ""
    """Why the step is taken."""


class StallDetector:
    """Judges a row of looks. It knows no clock but theirs, and does nothing itself."""

    def __init__(self, session_timeout_s: float) -> None:
        # A member that died keeps a rebalance waiting until its session ends: that is no stall.
        self._joining_limit_s = max(_GROUP_LIMIT_S, session_timeout_s + _GROUP_MARGIN_S)
        # Nobody moves a partition that is not ours: its owner may be busy, so that we wait longer.
        self._unowned_limit_s = max(_GROUP_LIMIT_S, 2 * session_timeout_s) + _GROUP_MARGIN_S
        self._patience = 1
        self._rebuilds = 0
        self._was_let_in = False
        self._last_at_s: float | None = None
        self._joining_since_s: float | None = None
        self._standing: dict[Partition, tuple[int, float]] = {}

    def begin(self) -> None:
        """Note that a new consumer joins: until it is let in, the worker is not ready."""
        self._was_let_in = False

    def forget(self) -> None:
        """Begin to measure anew: servers were away, or the worker begins anew itself."""
        self._last_at_s = self._joining_since_s = None
        self._standing.clear()

    def judge(self, look: Look) -> Verdict:
        """Return what follows from a look, given those before."""
        if self._last_at_s is not None and look.at_s - self._last_at_s > _FROZEN_FOR_S:
            self.forget()  # we stood still ourselves, and all that we measured with us
        self._last_at_s = look.at_s
        self._measure(look)
        if look.owned is None:
            return self._judge_joining(look)
        own = {partition for partition in self._standing if partition in look.owned}
        if own:
            return self._judge_own(own, look)
        if self._standing:
            return self._judge_others(look)
        self._patience, self._rebuilds = 1, 0
        return Verdict()

    def _measure(self, look: Look) -> None:
        """Note since when records wait in each partition without its progress moving."""
        before, self._standing = self._standing, {}
        for partition, held in look.held.items():
            offset = look.progress.get(partition, held.earliest)
            if held.end > offset:
                earlier = before.get(partition)
                same = earlier is not None and earlier[0] == offset
                self._standing[partition] = (offset, earlier[1] if earlier and same else look.at_s)
        if look.owned is not None:
            self._joining_since_s = None
            self._was_let_in = True
        elif self._joining_since_s is None:
            self._joining_since_s = look.at_s

    def _judge_joining(self, look: Look) -> Verdict:
        waited_s = look.at_s - (self._joining_since_s or look.at_s)
        problem = f"no partitions assigned for {waited_s:.0f} s"
        if self._was_let_in and waited_s < _NOT_READY_AFTER_S:
            return Verdict()  # a rebalance
        if waited_s < self._joining_limit_s * self._patience:
            return Verdict(problem)
        self._be_patient()
        return Verdict(
            problem,
            RecoveryStep.NEW_GROUP,
            f"the consumer group has not let us in for {waited_s:.0f} s",
        )

    def _judge_own(self, own: set[Partition], look: Look) -> Verdict:
        partition = min(own, key=lambda each: self._standing[each][1])
        waited_s, waiting = self._wait_of(partition, look)
        if waited_s < _NOT_READY_AFTER_S:
            return Verdict()
        what = f"{waiting} records wait in {partition.topic}[{partition.partition}], which is ours"
        problem = f"kafka: {what}, and for {waited_s:.0f} s none was processed"
        if waited_s < (_BUSY_LIMIT_S if look.busy else _STALLED_AFTER_S):
            return Verdict(problem)
        step = RecoveryStep.END if self._rebuilds else RecoveryStep.REBUILD
        self._rebuilds += 1
        return Verdict(problem, step, f"{what}, and none was processed for {waited_s:.0f} s")

    def _judge_others(self, look: Look) -> Verdict:
        partition = min(self._standing, key=lambda each: self._standing[each][1])
        waited_s, waiting = self._wait_of(partition, look)
        if waited_s < self._unowned_limit_s * self._patience:
            return Verdict()
        self._be_patient()
        what = f"{waiting} records wait in {partition.topic}[{partition.partition}]"
        return Verdict(
            None,
            RecoveryStep.NEW_GROUP,
            f"{what}, which no worker has processed for {waited_s:.0f} s",
        )

    def _wait_of(self, partition: Partition, look: Look) -> tuple[float, int]:
        offset, since_s = self._standing[partition]
        return look.at_s - since_s, look.held[partition].end - offset

    def _be_patient(self) -> None:
        """Wait twice as long before the next new group: whoever is slow must come to an end."""
        self._patience = min(2 * self._patience, _MOST_PATIENCE)
