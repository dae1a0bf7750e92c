"""A placement plan as it is stored and published."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from schemas.events.fix import UtcDatetime
from schemas.fleet.policy import PlacementPolicy
from schemas.fleet.vehicle_type import VehicleType
from schemas.ids import MunicipalityId, ScopedId
from schemas.plans.backtest import BackTest
from schemas.plans.demand import DemandProfile, FleetProfile


class PlanTrigger(StrEnum):
    """Why the planner solved."""

    SCHEDULE = "schedule"
    DRIFT = "drift"
    FLEET = "fleet"
    ALERTS = "alerts"
    ON_REQUEST = "on-request"


class SolverStatus(StrEnum):
    """What the solver proved about the plan."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"

    @property
    def places(self) -> bool:
        """Whether there is an answer: a placement that can be carried out."""
        return self in {SolverStatus.OPTIMAL, SolverStatus.FEASIBLE}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PlanMove(_Part):
    """One vehicle that should stand at another depot, and why."""

    vehicle_id: ScopedId
    from_depot_id: ScopedId | None
    to_depot_id: ScopedId
    reason: str


class PlanLending(_Part):
    """Vehicles of a class that one depot should fetch at a neighbour when its own are out."""

    vehicle_class: VehicleType
    borrower_depot_id: ScopedId
    lender_depot_id: ScopedId
    way_min: float = Field(ge=0, description="From one to the other, by the policy's means")
    vehicles: int = Field(ge=1, description="Vehicles of the lender that take part")
    round_trips: int = Field(ge=1, description="Observed ones that are served so")
    saves_dkk: float = Field(description="Over the horizon, after the way and the arranging")
    reason: str


class PlacementPlan(_Part):
    """Which vehicle stands at which depot, what it costs and saves, and how sure we are.

    Costs are DKK over the plan's horizon. `bound_dkk` is the solver's proven lower bound of the
    objective; `gap` is `(objective - bound) / objective`, 0 when proven optimal. A plan that is
    infeasible or unknown leaves every vehicle where it stands, with bound 0 and gap 1.
    """

    type: Literal["placement-plan"] = "placement-plan"
    plan_id: UUID = Field(description="Of municipality, inputs hash, seed and instant")
    municipality_id: MunicipalityId
    trigger: PlanTrigger
    trigger_reason: str
    created_at: UtcDatetime
    demand_from: UtcDatetime
    demand_to: UtcDatetime
    round_trip_count: int
    inputs_hash: str = Field(description="SHA-256 of the canonical inputs, in hexadecimal")
    seed: int
    time_limit_s: float = Field(description="Deterministic, of solving and back-test together")
    status: SolverStatus
    objective_dkk: float
    bound_dkk: float
    gap: float
    cost_before_dkk: float = Field(description="The same cost model on the fleet as it stands")
    unserved_before: int = Field(
        description="Observed round trips that find no vehicle at their depot, as it stands and "
        "without lending"
    )
    unserved_after: int = Field(description="The same with the plan, those lent to left out")
    horizon_weeks: float
    moves: tuple[PlanMove, ...]
    lendings: tuple[PlanLending, ...] = ()
    placement: dict[str, str] = Field(
        description="vehicle_id to depot_id; of every vehicle if one was found, else as it stands"
    )
    vehicle_ids: tuple[ScopedId, ...] = Field(description="Of all vehicles it was made for")
    policy: PlacementPolicy | None = Field(
        default=None, description="What it was made for; None in a plan from before it was kept"
    )
    demand_profile: DemandProfile = Field(description="What the next drift is measured against")
    stood_at: dict[str, str] | None = Field(
        default=None, description="As placement, had nothing moved; None in a plan from before"
    )
    relocation_dkk: float | None = Field(
        default=None, description="What of the objective is paid once, for moving; None likewise"
    )
    fleet_profile: FleetProfile | None = Field(
        default=None, description="The same of the fleet; None in a plan from before it was kept"
    )
    explanation: str = Field(description="In words: why, or what is missing where")
    backtest: BackTest | None = Field(
        default=None, description="What such a plan did on weeks that it was not fitted to"
    )
    backtest_explanation: str = Field(
        default="No back-test: the plan is older than back-tests.",
        description="In words: what came of it, or why there is none",
    )
