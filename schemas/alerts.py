"""What operations are told of: an alert that is raised, and one that is resolved."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.fix import UtcDatetime
from schemas.ids import MunicipalityId, ScopedId


class AlertKind(StrEnum):
    """What is wrong with a vehicle."""

    UNDERUSED = "underused"
    EXCESS_IDLING = "excess-idling"
    SILENT = "silent"


class _Alert(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: UUID = Field(description="Deterministic: the same fact has the same id")
    alert_id: UUID
    municipality_id: MunicipalityId
    kind: AlertKind
    vehicle_id: ScopedId
    raised_at: UtcDatetime
    reason: str = Field(description="In words, with the numbers that say so")


class AlertRaised(_Alert):
    """Something needs a look."""

    type: Literal["alert-raised"] = "alert-raised"


class AlertResolved(_Alert):
    """It is over: the numbers are well on the other side of the limit."""

    type: Literal["alert-resolved"] = "alert-resolved"
    resolved_at: UtcDatetime
    resolution: str
