"""An integer program as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Program:
    """Columns from 0 to `upper` with a cost each, and rows of whole numbers; it is minimised.

    `lowest` and `highest` are the ends of each row's sum; None is no end.
    """

    upper: list[int] = field(default_factory=list)
    cost: list[int] = field(default_factory=list)
    lowest: list[int | None] = field(default_factory=list)
    highest: list[int | None] = field(default_factory=list)
    rows: list[tuple[list[int], list[int]]] = field(default_factory=list)

    def column(self, upper: int, cost: int) -> int:
        """Add a column; return its number."""
        self.upper.append(upper)
        self.cost.append(cost)
        return len(self.upper) - 1

    def row(
        self,
        columns: Sequence[int],
        factors: Sequence[int],
        lowest: int | None = None,
        highest: int | None = None,
    ) -> None:
        """Add a row over different columns."""
        self.rows.append((list(columns), list(factors)))
        self.lowest.append(lowest)
        self.highest.append(highest)

    def allows(self, values: Sequence[int]) -> bool:
        """Return whether values keep all ranges and rows."""
        within = all(0 <= value <= upper for value, upper in zip(values, self.upper, strict=True))
        if not within:
            return False
        for (columns, factors), low, high in zip(self.rows, self.lowest, self.highest, strict=True):
            total = sum(
                values[column] * factor for column, factor in zip(columns, factors, strict=True)
            )
            if (low is not None and total < low) or (high is not None and total > high):
                return False
        return True

    def value(self, values: Sequence[int]) -> int:
        """Return what values cost."""
        return sum(value * cost for value, cost in zip(values, self.cost, strict=True))
