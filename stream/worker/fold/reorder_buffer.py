"""A vehicle's last fixes, kept in memory to fold them again with what comes a little late.

Uploads overtake each other on the way by seconds. Where they belong is nearly always among the few
fixes that the vehicle sent last: the state from before those is enough then, and the database need
not be asked. They are as true as the cached state: both are of the same version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from processors.timeline.validation import Arrival, Receipt
from processors.timeline.vehicle_fold import VehicleState
from schemas.events.fix import Fix, Reported
from schemas.events.fix_struct import FixStruct

BUFFER_SIZE: Final = 16
"""Fixes of a vehicle: more come from a tracker that was out of coverage, not from a race."""


@dataclass(frozen=True, slots=True)
class ReorderBuffer:
    """All fixes of a vehicle after a state.

    `since` is the last fix that `before` knows; both are None of a vehicle that began with these.
    """

    before: VehicleState | None
    since: datetime | None
    reports: Sequence[Reported]
    receipts: Sequence[Receipt]
    refused: Mapping[datetime, str]
    """Which of them the timeline leaves out, and why."""

    @classmethod
    def after(  # noqa: PLR0913, PLR0917 - what there was, and what has come
        cls,
        older: ReorderBuffer | None,
        before: VehicleState | None,
        since: datetime | None,
        reports: Sequence[Reported],
        receipts: Sequence[Receipt],
        refused: Mapping[datetime, str],
    ) -> ReorderBuffer | None:
        """Return what is kept after further fixes: with the older ones, or alone, or none."""
        if len(reports) > BUFFER_SIZE:
            return None
        if older is None or len(older.reports) + len(reports) > BUFFER_SIZE:
            return cls(before, since, reports, receipts, refused)
        return cls(
            older.before,
            older.since,
            [*older.reports, *reports],
            [*older.receipts, *receipts],
            {**older.refused, **refused},
        )

    def revised(self, verdicts: Mapping[datetime, str | None]) -> ReorderBuffer:
        """Return it with what has been told of some of its fixes since, if that is news."""
        if not verdicts:
            return self
        revisions = {
            report.recorded_at: verdicts[report.recorded_at]
            for report in self.reports
            if report.recorded_at in verdicts
        }
        if all(self.refused.get(at) == reason for at, reason in revisions.items()):
            return self
        refused = {at: reason for at, reason in self.refused.items() if at not in revisions}
        refused |= {at: reason for at, reason in revisions.items() if reason is not None}
        return replace(self, refused=refused)

    def reaches(self, at: datetime) -> bool:
        """Return whether a fix of an instant has its place among these."""
        return self.since is None or at > self.since

    def stored(self) -> dict[datetime, tuple[Arrival, str | None]]:
        """Return what is stored of these fixes, and why the timeline leaves one out."""
        return {
            report.recorded_at: (
                Arrival(_as_fix(report), *receipt),
                self.refused.get(report.recorded_at),
            )
            for report, receipt in zip(self.reports, self.receipts, strict=True)
        }


def _as_fix(report: Reported) -> Fix:
    if isinstance(report, Fix):
        return report
    if isinstance(report, FixStruct):
        return report.as_fix()
    raise AssertionError(f"a worker folds Fix and FixStruct, not {type(report).__name__}")
