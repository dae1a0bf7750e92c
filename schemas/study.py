"""A study: a model's answer to a question that somebody asked of the recorded rows or of a file."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.assignment import AssignmentPlan
from schemas.carpool import CarpoolPlan
from schemas.fix import UtcDatetime
from schemas.ids import MunicipalityId
from schemas.routes import RoutesPlan


class StudyKind(StrEnum):
    """What was asked."""

    ASSIGNMENT = "assignment"
    CARPOOL = "carpool"
    ROUTES = "routes"


StudiedPlan = Annotated[
    AssignmentPlan | CarpoolPlan | RoutesPlan,
    Field(discriminator="type", description="As the model gave it: nothing here tells when or who"),
]


class Study(BaseModel):
    """A plan that somebody asked for, and what it rests on.

    Two studies of the same rows, seed and limit have the same plan and basis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    study_id: UUID = Field(description="Of municipality, kind, inputs hash, seed and instant")
    municipality_id: MunicipalityId
    created_at: UtcDatetime
    requested_by: str
    basis: str = Field(description="In words: what it was made from, left out and assumed")
    plan: StudiedPlan

    @property
    def kind(self) -> StudyKind:
        """What was asked."""
        return kind_of(self.plan)


def kind_of(plan: AssignmentPlan | CarpoolPlan | RoutesPlan) -> StudyKind:
    """Return the kind of study that a plan answers."""
    return StudyKind(plan.type.removesuffix("-plan"))


def seed_of(plan: AssignmentPlan | CarpoolPlan | RoutesPlan) -> int:
    """Return the seed that a plan was searched from."""
    return plan.search.seed if isinstance(plan, RoutesPlan) else plan.seed


def time_limit_s_of(plan: AssignmentPlan | CarpoolPlan | RoutesPlan) -> float:
    """Return the limit of a plan's search, in deterministic seconds."""
    return plan.search.time_limit_s if isinstance(plan, RoutesPlan) else plan.time_limit_s
