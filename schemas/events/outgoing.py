"""What leaves for Kafka through the outbox: facts that other systems and our planner listen to."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.events.dead_letters import DeadLetterReason
from schemas.events.fix import UtcDatetime
from schemas.ids import MunicipalityId, ScopedId


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    event_id: UUID = Field(description="Deterministic: the same fact has the same id")


class RoundTripEnded(_Event):
    """A vehicle is back at a depot: one more unit of demand."""

    type: Literal["round-trip-ended"] = "round-trip-ended"
    municipality_id: MunicipalityId
    vehicle_id: ScopedId
    kind: str
    started_at: UtcDatetime
    ended_at: UtcDatetime
    start_depot_id: ScopedId | None
    end_depot_id: ScopedId | None
    distance_m: float


class TripEnded(_Event):
    """A vehicle has come to a real stop."""

    type: Literal["trip-ended"] = "trip-ended"
    municipality_id: MunicipalityId
    vehicle_id: ScopedId
    started_at: UtcDatetime
    ended_at: UtcDatetime
    distance_m: float


class DeadLetter(_Event):
    """Something that came in and could not be used, where it came from and why."""

    type: Literal["dead-letter"] = "dead-letter"
    reason: DeadLetterReason = Field(description="Short, stable word for the kind of fault")
    detail: str = Field(description="Value, limit and remedy in a sentence")
    topic: str
    partition: int
    offset: int
    index: int | None = Field(description="Position of the fix within its message, if one")
    vendor: str | None = Field(default=None, description="Who sent it, as its message says")
    municipality_id: MunicipalityId | None = Field(description="For whom, as its message says")
    vehicle_id: ScopedId | None
    message_value: str = Field(
        description="The message, base64: it can be produced again; of a batch only the item"
    )
