"""What a municipality wants of a placement beyond the least cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_LENDING_MIN: Final = 240.0
"""Longest way to a neighbour's vehicle; beyond half a working day it is a slip (ours)."""


class Fetching(StrEnum):
    """How an employee gets to a neighbouring depot for its vehicle."""

    ON_FOOT = "on-foot"
    BY_BICYCLE = "by-bicycle"


class PlacementPolicy(BaseModel):
    """What a municipality wants of a placement beyond the least cost.

    In its row and in a file only what is given counts, see `over`. Raises
    `pydantic.ValidationError` for a share or a way that cannot be meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    served_share: float | None = Field(
        default=None,
        description="Share of each class's round trips that the plan must serve; none: what pays",
    )
    lending_within_min: float = Field(
        default=0.0, description="Depots no further apart lend each other vehicles; 0: none do"
    )
    fetching: Fetching = Field(default=Fetching.ON_FOOT, description="How these minutes are spent")
    forecast: bool = Field(
        default=False, description="Whether demand is forecast where that beats last week"
    )

    @field_validator("served_share")
    @classmethod
    def _share_is_one(cls, given: float | None) -> float | None:
        if given is not None and not 0 <= given <= 1:
            raise ValueError(
                f"served_share {given:g} is no share from 0 to 1; give 0.95 for 95 %, null for "
                "what pays, or leave it out for the planner's FLEETPULSE_PLANNER_SERVED_SHARE"
            )
        return given

    @field_validator("lending_within_min")
    @classmethod
    def _way_is_short(cls, given: float) -> float:
        if not 0 <= given <= MAX_LENDING_MIN:
            raise ValueError(
                f"lending_within_min {given:g} is not from 0 to {MAX_LENDING_MIN:g} minutes; "
                "give 0 for no lending, or leave it out for the planner's "
                "FLEETPULSE_PLANNER_LENDING_WITHIN_MIN"
            )
        return given

    def over(self, fallback: PlacementPolicy) -> PlacementPolicy:
        """Return this policy, with what was not given to it from another."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return fallback.model_copy(update=given)
