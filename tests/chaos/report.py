"""What a run of chaos has shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Report:
    """What happened."""

    faults: Counter[str] = field(default_factory=Counter)
    pushed: set[tuple[str, datetime]] = field(default_factory=set)
    accepted: int = 0
    poison: int = 0
    restarts: int = 0
    reader_attempts: int = 0
    seconds: float = 0.0
    catch_up_s: float = 0.0
    rows: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By table: rows, those that only the disturbed has, those that only the undisturbed has."""
    lost: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nothing differs and nothing is lost."""
        return not self.lost and not any(more or less for _, more, less in self.rows.values())

    def text(self) -> str:
        """Return the tables to print."""
        pushed = (
            f"{len(self.pushed):,} fixes pushed, {self.accepted:,} accepted events, {self.poison} "
            f"poisonous records, {self.reader_attempts} attempts of a hostile reader"
        )
        happened = (
            f"{self.faults.total()} faults of {len(self.faults)} kinds, {self.restarts} restarts, "
            f"{self.seconds:.0f} s, caught up in {self.catch_up_s:.0f} s"
        )
        lines = [
            pushed,
            happened,
            *(f"  {count:3}  {name}" for name, count in sorted(self.faults.items())),
            f"{'table':<16}{'rows':>10}{'only here':>12}{'missing':>10}",
        ]
        for table, (count, more, less) in self.rows.items():
            lines.append(f"{table:<16}{count:>10,}{more:>12,}{less:>10,}")
        lines.append(f"accepted fixes without a row or a letter: {self.lost:,}")
        lines.append("GOOD: every table as undisturbed" if self.is_good else "NOT GOOD")
        return "\n".join(lines)
