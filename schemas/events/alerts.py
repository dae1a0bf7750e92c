"""What operations are told of: an alert that is raised, and one that is resolved."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.events.fix import UtcDatetime
from schemas.ids import MunicipalityId, ScopedId

AlertKind = Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)*$", max_length=60)]
"""What is wrong with a vehicle or depot: a kind of the table in `processors.alerts.rules`."""

UNDERUSED: Final = "underused"
DEPOT_SHORT: Final = "depot-short"
"""These two are signs for the planner, too: it plans again when enough of them are open."""


class _Alert(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: UUID = Field(description="Deterministic: the same fact has the same id")
    alert_id: UUID
    municipality_id: MunicipalityId
    kind: AlertKind
    vehicle_id: ScopedId | None = Field(description="Whose alert it is, if a vehicle's")
    depot_id: ScopedId | None = Field(default=None, description="Whose alert it is, if a depot's")
    raised_at: UtcDatetime
    reason: str = Field(description="In words, with the numbers that say so")

    @property
    def subject_id(self) -> str:
        """Id of the vehicle or the depot."""
        return self.vehicle_id or self.depot_id or self.municipality_id


class AlertRaised(_Alert):
    """Something needs a look."""

    type: Literal["alert-raised"] = "alert-raised"


class AlertResolved(_Alert):
    """It is over: the numbers are well on the other side of the limit."""

    type: Literal["alert-resolved"] = "alert-resolved"
    resolved_at: UtcDatetime
    resolution: str
