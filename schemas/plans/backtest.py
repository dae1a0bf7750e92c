"""What came of a plan on weeks that it was not fitted to."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from schemas.events.fix import UtcDatetime


class ContenderName(StrEnum):
    """Whose placement was replayed."""

    AS_IT_WAS = "as it was"
    GREEDY = "greedy"
    PLAN = "plan"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Contender(_Part):
    """What a placement did in the replayed weeks. Costs are DKK of these weeks."""

    name: ContenderName
    moves: int = Field(ge=0, description="Vehicles that stand elsewhere than as it was")
    round_trips: int = Field(ge=0, description="Of the replayed weeks; the same for all")
    served_round_trips: int = Field(ge=0)
    served_share: float = Field(ge=0, le=1)
    unserved_dkk: float = Field(ge=0, description="Own-car allowance, or the least price")
    energy_dkk: float = Field(ge=0, description="Fuel and electricity of our vehicles")
    fetching_dkk: float = Field(
        ge=0, description="Staff that drives vehicles home over night that were left elsewhere"
    )
    co2e_dkk: float = Field(ge=0, description="`co2e_kg` at its price")
    relocation_dkk: float = Field(ge=0, description="Moves, these weeks' share of the horizon")
    charger_dkk: float = Field(ge=0, description="Electric vehicles beyond their depot's chargers")
    cost_dkk: float = Field(ge=0, description="The six of them")
    co2e_kg: float = Field(ge=0, description="Of our vehicles, and of own cars in their place")


class BackTest(_Part):
    """A plan fitted on the first weeks of the observed round trips, replayed on the rest.

    Weeks are of seven local days, counted back from the last day that is observed.
    """

    fitted_from: UtcDatetime
    fitted_to: UtcDatetime = Field(description="Local midnight; what starts later is replayed")
    replayed_to: UtcDatetime
    weeks_fitted: float = Field(gt=0)
    weeks_replayed: int = Field(ge=1)
    round_trips_fitted: int = Field(ge=1)
    contenders: tuple[Contender, ...] = Field(description="As it was, greedy, plan")
    cost_ratio: float | None = Field(
        description="Cost of the plan over cost as it was; null where that costs nothing"
    )
    greedy_cost_ratio: float | None = Field(description="The same of the greedy rule")
