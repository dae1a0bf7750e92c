"""What a run of chaos has shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Report:
    """What happened."""

    title: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    without_effect: Counter[str] = field(default_factory=Counter)
    """Faults that found nothing to hurt."""
    pushed: set[tuple[str, datetime]] = field(default_factory=set)
    accepted: int = 0
    poison: int = 0
    restarts: int = 0
    reader_attempts: int = 0
    reader_refused: int = 0
    reader_breaches: Counter[str] = field(default_factory=Counter)
    """What a reader may not do and did."""
    seconds: float = 0.0
    catch_up_s: float = 0.0
    rows: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By table: rows, those that only the disturbed has, those that only the undisturbed has."""
    lost: int = 0
    unpublished: int = 0
    """Rows of the outbox that were never sent."""

    @property
    def is_good(self) -> bool:
        """Whether nothing differs and nothing is lost."""
        differs = any(more or less for _, more, less in self.rows.values())
        proves = self.faults.total() and self.poison and self.reader_attempts and self.pushed
        return bool(proves) and not (
            differs or self.lost or self.unpublished or self.reader_breaches
        )

    def text(self) -> str:
        """Return the tables to print."""
        pushed = (
            f"{len(self.pushed):,} fixes pushed, {self.accepted:,} accepted events, {self.poison} "
            f"poisonous records, {self.reader_attempts} attempts of a hostile reader, of which "
            f"{self.reader_refused} failed"
        )
        happened = (
            f"{self.faults.total()} faults of {len(self.faults)} kinds, {self.restarts} restarts, "
            f"{self.seconds:.0f} s, caught up in {self.catch_up_s:.0f} s"
        )
        lines = [
            self.title,
            pushed,
            happened,
            *(f"  {count:3}  {name}" for name, count in sorted(self.faults.items())),
            *(
                f"  {count:3}  {name}, which found nothing to hurt"
                for name, count in sorted(self.without_effect.items())
            ),
            f"{'table':<16}{'rows':>10}{'only here':>12}{'missing':>10}",
        ]
        for table, (count, more, less) in self.rows.items():
            lines.append(f"{table:<16}{count:>10,}{more:>12,}{less:>10,}")
        lines.append(f"accepted fixes without a row or a letter: {self.lost:,}")
        lines.append(f"rows of the outbox never sent: {self.unpublished:,}")
        lines += [
            f"a reader did {count} times: {what}" for what, count in self.reader_breaches.items()
        ]
        lines.append("GOOD: every table as undisturbed" if self.is_good else "NOT GOOD")
        return "\n".join(lines)
