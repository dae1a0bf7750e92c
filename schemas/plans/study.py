"""A study: a model's answer to a question that somebody asked of the recorded rows or of a file."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.events.fix import UtcDatetime
from schemas.ids import MunicipalityId
from schemas.plans.assignment import AssignmentPlan
from schemas.plans.carpool import CarpoolPlan
from schemas.plans.composition import CompositionPlan
from schemas.plans.forecast import Forecast
from schemas.plans.routes import RoutesPlan
from schemas.plans.sites import SitesPlan


class StudyKind(StrEnum):
    """What was asked."""

    ASSIGNMENT = "assignment"
    CARPOOL = "carpool"
    ROUTES = "routes"
    COMPOSITION = "composition"
    FORECAST = "forecast"
    SITES = "sites"


AnyPlan = AssignmentPlan | CarpoolPlan | RoutesPlan | CompositionPlan | Forecast | SitesPlan

StudiedPlan = Annotated[
    AnyPlan,
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


def kind_of(plan: AnyPlan) -> StudyKind:
    """Return the kind of study that a plan answers."""
    return StudyKind(plan.type.removesuffix("-plan"))


def seed_of(plan: AnyPlan) -> int:
    """Return the seed that a plan was searched from."""
    return plan.search.seed if isinstance(plan, RoutesPlan) else plan.seed


def time_limit_s_of(plan: AnyPlan) -> float:
    """Return the limit of a plan's search, in deterministic seconds."""
    return plan.search.time_limit_s if isinstance(plan, RoutesPlan) else plan.time_limit_s


class Figures(NamedTuple):
    """What an answer comes to, what is proven about it, and how far that is apart."""

    objective_dkk: float
    bound_dkk: float
    gap: float


def figures_of(plan: AnyPlan) -> Figures | None:
    """Return the figures of a plan: of a composition, those of its chosen point, a year's.

    None for a forecast, which optimises nothing, and for a composition that serves not all.
    """
    if isinstance(plan, Forecast):
        return None
    if isinstance(plan, CompositionPlan):
        if plan.chosen is None:
            return None
        point = plan.points[plan.chosen]
        return Figures(point.cost_dkk, point.bound_dkk, point.gap)
    return Figures(plan.objective_dkk, plan.bound_dkk, plan.gap)
