"""Result of an accepted plan in one week: promised, realised, and why they differ."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.ids import MunicipalityId

WEEK_DAYS: Final = 7
"""The horizon over which a week's placements are priced."""


class PlanState(StrEnum):
    """What was decided about a plan.

    Superseded is a proposal that a newer plan has followed, and an accepted plan when another one
    is accepted.
    """

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


class PlanOutcome(BaseModel):
    """One whole local week of a plan. Savings are øre against nothing having moved.

    Moving itself, which is paid once, is in none of them, nor is lending between depots, which
    cannot be seen: the explanation says what that promised. The three parts add up to what was
    promised less what was realised; a negative part is in the plan's favour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    plan_id: UUID
    municipality_id: MunicipalityId
    week: date = Field(description="Its Monday, local")
    promised_ore: int
    realised_ore: int
    demand_changed_ore: int = Field(
        description="What the plan, carried out, would have saved less on this week's demand and "
        "fleet than on what it was made from"
    )
    not_carried_out_ore: int = Field(description="What the real placement lacks of the plan's")
    model_wrong_ore: int = Field(
        description="What round trips taken by other depots' vehicles cost, less what the model "
        "says of the real placement; at depots and of classes whose number of vehicles has changed"
    )
    unserved_promised: float = Field(ge=0, description="Round trips a week")
    unserved_modelled: int = Field(
        ge=0, description="Of this week, what the model says that the real placement cannot serve"
    )
    unserved_realised: int = Field(
        ge=0, description="Of this week, those that another depot's vehicle took"
    )
    moves: int = Field(ge=0)
    moves_carried_out: int = Field(ge=0)
    explanation: str = Field(description="In words, with the numbers")

    @model_validator(mode="after")
    def _parts_add_up(self) -> Self:
        parts_ore = self.demand_changed_ore + self.not_carried_out_ore + self.model_wrong_ore
        if self.promised_ore - self.realised_ore != parts_ore:
            raise ValueError(
                f"promised {self.promised_ore} less realised {self.realised_ore} øre is not the "
                f"sum of the parts, {parts_ore}"
            )
        return self
