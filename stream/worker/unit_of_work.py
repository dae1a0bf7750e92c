"""What a batch writes: gathered by the fold, vehicle by vehicle, and written at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.connection.binary_copy import copy_encoded
from infra.database.stream import progress
from infra.database.stream.progress import DeadLetterRecord
from infra.database.timeline import fixes as fix_store
from infra.database.timeline import tables
from infra.database.timeline import vehicle_states as state_store
from infra.database.timeline.tables import Row
from infra.kafka.client import Topics
from stream.worker.fold.cached_state import CachedState

_QUARANTINE: Final = list(tables.FIX.columns).index("quarantine")


@dataclass(slots=True)
class UnitOfWork:
    """What a batch writes, gathered over its vehicles."""

    encoded_fixes: list[bytes] = field(default_factory=list)
    """In binary, of plain messages."""
    fresh_fixes: list[Row] = field(default_factory=list)
    changed_fixes: list[Row] = field(default_factory=list)
    revised_fixes: dict[tuple[str, datetime], str | None] = field(default_factory=dict)
    """Why a stored fix is left out after all, by vehicle and instant; None where it counts."""
    replaced: dict[tables.Table, tuple[list[tables.Span], list[Row]]] = field(default_factory=dict)
    states: dict[str, CachedState] = field(default_factory=dict)
    messages: list[tuple[Any, str, str, dict[str, Any]]] = field(default_factory=list)
    letters: list[DeadLetterRecord] = field(default_factory=list)
    quarantined: Counter[str] = field(default_factory=Counter)
    """How many fixes of plain messages are left out, by reason."""

    def count_quarantined(self) -> Counter[str]:
        """Return how many of the fixes that came are left out of the timeline, by reason."""
        return self.quarantined + Counter(
            reason for row in self.fresh_fixes if (reason := row[_QUARANTINE]) is not None
        )

    def replace(
        self,
        table: tables.Table,
        vehicle_id: str,
        since: datetime,
        new: Iterable[Row],
        until: datetime | None = None,
    ) -> None:
        """Note that a vehicle's rows from an instant on, to another if any, give way."""
        places, rows_ = self.replaced.setdefault(table, ([], []))
        places.append((vehicle_id, since, until))
        rows_.extend(new)


async def flush(connection: AsyncConnection[TupleRow], work: UnitOfWork, topics: Topics) -> None:
    """Write what was gathered. Call it in the transaction that moves the progress."""
    # States first: two workers that meet a new vehicle at once meet here, and nowhere else.
    await state_store.write_states(
        connection,
        [state.as_stored(vehicle_id) for vehicle_id, state in work.states.items()],
    )
    if work.encoded_fixes:
        await copy_encoded(connection, tables.FIX, work.encoded_fixes)
    if work.fresh_fixes:
        await tables.copy_rows(connection, tables.FIX, work.fresh_fixes)
    if work.changed_fixes:
        await fix_store.put_fixes(connection, work.changed_fixes)
    if work.revised_fixes:
        await fix_store.revise_fixes(connection, work.revised_fixes)
    for table, (places, new) in work.replaced.items():
        await tables.replace_rows(connection, table, places, new)
    await progress.put_outbox(connection, work.messages)
    if work.letters:
        await progress.put_dead_letters(connection, work.letters, topics.dead_letters)
