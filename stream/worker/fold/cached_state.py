"""Where a vehicle's fold stands, as a worker holds it between batches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from pydantic import TypeAdapter

from infra.database.timeline.vehicle_states import StoredState
from processors.timeline.vehicle_fold import VehicleState
from stream.worker.fold.reorder_buffer import ReorderBuffer

STATE: Final = TypeAdapter(VehicleState)
"""Reads states; they are written by `dump`, which is quicker at it."""


def dump(state: VehicleState) -> str:
    """Return a state as JSON."""
    return msgspec.json.encode(state).decode()


@dataclass(frozen=True, slots=True)
class CachedState:
    """A vehicle's state as we hold it."""

    version: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    state: VehicleState
    buffer: ReorderBuffer | None = None
    """The last fixes that the state was folded from, if they are few."""

    @classmethod
    def of(cls, stored: StoredState) -> CachedState:
        """Return a state that was read from the database."""
        return cls(
            stored.version,
            stored.first_recorded_at,
            stored.last_recorded_at,
            STATE.validate_json(stored.state),
        )

    def as_stored(self, vehicle_id: str) -> StoredState:
        """Return it as a row of `vehicle_state`."""
        return StoredState(
            vehicle_id,
            self.version,
            self.first_recorded_at,
            self.last_recorded_at,
            dump(self.state),
        )
