"""Routes: visits with time windows and competences, vehicles with shifts, and who drives where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.events.fix import UtcDatetime
from schemas.fleet.vehicle_type import VehicleType
from schemas.ids import MunicipalityId, ScopedId, municipality_of
from schemas.local_time import DENMARK, Timezone
from schemas.plans.plan import SolverStatus

UNSERVED_DKK: Final = 10_000.0
"""Price of a visit that nobody makes, unless it has its own (ours): beyond any detour, so that
visits are left out only where they cannot be made."""

_SPAN: Final = timedelta(days=31)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _sorted_once(competences: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(competences)))


Competences = Annotated[tuple[str, ...], AfterValidator(_sorted_once)]
"""Words that mean the same on visits and vehicles, such as `nurse` or `lift`."""


class RouteDepot(_Part):
    """A place where routes start and end."""

    depot_id: ScopedId
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)


class Visit(_Part):
    """Something to be done at a place. It begins within the window and may end after it."""

    visit_id: ScopedId
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    earliest_at: UtcDatetime
    latest_at: UtcDatetime = Field(description="When it begins at the latest")
    service_s: float = Field(ge=0)
    demand: float = Field(default=0.0, ge=0, description="In the unit of the vehicles' capacity")
    competences: Competences = Field(default=(), description="All of them are needed")
    unserved_dkk: float = Field(default=UNSERVED_DKK, gt=0, description="What it costs if not made")

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.latest_at < self.earliest_at:
            raise ValueError(
                f"{self.visit_id} begins at the latest at {self.latest_at.isoformat()}, before "
                f"its earliest {self.earliest_at.isoformat()}; swap them"
            )
        return self


class RouteVehicle(_Part):
    """A vehicle with its crew for one shift: at most one route."""

    vehicle_id: ScopedId
    vehicle_type: VehicleType = Field(
        default=VehicleType.CAR, description="Decides how fast it travels"
    )
    start_depot_id: ScopedId
    end_depot_id: ScopedId
    shift_from: UtcDatetime
    shift_to: UtcDatetime
    max_duration_s: float | None = Field(
        default=None, gt=0, description="From leaving the depot until back; null for the shift"
    )
    capacity: float = Field(default=0.0, ge=0, description="Of what visits demand")
    competences: Competences = ()
    fixed_dkk: float = Field(default=0.0, ge=0, description="When it is used at all")
    dkk_per_km: float = Field(ge=0)

    @model_validator(mode="after")
    def _shift_is_open(self) -> Self:
        if self.shift_to <= self.shift_from:
            raise ValueError(
                f"shift of {self.vehicle_id} ends at {self.shift_to.isoformat()}, not after its "
                f"start {self.shift_from.isoformat()}; swap them"
            )
        return self


def _visits_by_id(visits: tuple[Visit, ...]) -> tuple[Visit, ...]:
    return tuple(sorted(visits, key=lambda visit: visit.visit_id))


def _vehicles_by_id(vehicles: tuple[RouteVehicle, ...]) -> tuple[RouteVehicle, ...]:
    return tuple(sorted(vehicles, key=lambda vehicle: vehicle.vehicle_id))


def _depots_by_id(depots: tuple[RouteDepot, ...]) -> tuple[RouteDepot, ...]:
    return tuple(sorted(depots, key=lambda depot: depot.depot_id))


class RouteInputs(_Part):
    """All that routes are planned from; the order in which rows are read is lost here.

    Raises `pydantic.ValidationError` for an id that comes twice or is another municipality's, a
    depot that is not there, and instants over more than 31 days.
    """

    municipality_id: MunicipalityId
    depots: Annotated[tuple[RouteDepot, ...], AfterValidator(_depots_by_id)]
    vehicles: Annotated[tuple[RouteVehicle, ...], AfterValidator(_vehicles_by_id)]
    visits: Annotated[tuple[Visit, ...], AfterValidator(_visits_by_id)]
    timezone: Timezone = Field(default=DENMARK, description="IANA name: local hours in words")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        depots = {depot.depot_id for depot in self.depots}
        for vehicle in self.vehicles:
            for depot_id in (vehicle.start_depot_id, vehicle.end_depot_id):
                if depot_id not in depots:
                    raise ValueError(
                        f"{vehicle.vehicle_id} starts or ends at {depot_id}, which is not among "
                        f"the {len(depots)} depots; add it"
                    )
        self._check(depot.depot_id for depot in self.depots)
        self._check(vehicle.vehicle_id for vehicle in self.vehicles)
        self._check(visit.visit_id for visit in self.visits)
        instants = [vehicle.shift_from for vehicle in self.vehicles]
        instants += [vehicle.shift_to for vehicle in self.vehicles]
        instants += [visit.earliest_at for visit in self.visits]
        if instants and max(instants) - min(instants) > _SPAN:
            raise ValueError(
                f"shifts and windows lie {(max(instants) - min(instants)).days} days apart; the "
                f"limit is {_SPAN.days} days; plan shorter stretches, each for itself"
            )
        return self

    def _check(self, ids: Iterable[str]) -> None:
        for name, count in Counter(ids).items():
            if count > 1:
                raise ValueError(f"{name} comes {count} times; keep one")
            if municipality_of(name) != self.municipality_id:
                raise ValueError(
                    f"{name} is not {self.municipality_id}'s; its id must begin with "
                    f"{self.municipality_id}/"
                )


class RouteSearch(_Part):
    """How long and from which seed the planner searches.

    `time_limit_s` counts iterations, about a second of one core each: two runs with the same
    inputs, seed, limit and number of chains give the same plan. `wall_limit_s` is a guard by the
    clock on the wall, which a plan that it cut short says (`cut_short`) and which is not
    reproducible then.
    """

    seed: int = Field(default=1, ge=0)
    time_limit_s: float = Field(default=30.0, gt=0)
    wall_limit_s: float | None = Field(default=None, gt=0)
    chains: int = Field(default=1, ge=1, le=64, description="Searches side by side, a core each")


class RouteStop(_Part):
    """One visit on a route. Between arrival and begin the vehicle waits for the window."""

    visit_id: ScopedId
    distance_m: float = Field(ge=0, description="From the stop before")
    travel_s: float = Field(ge=0, description="From the stop before")
    arrives_at: UtcDatetime
    begins_at: UtcDatetime
    departs_at: UtcDatetime


class VehicleRoute(_Part):
    """What one vehicle does: leaves its depot, makes visits in order, and returns."""

    vehicle_id: ScopedId
    stops: tuple[RouteStop, ...]
    departs_at: UtcDatetime
    returns_at: UtcDatetime
    distance_m: float = Field(ge=0)
    driving_s: float = Field(ge=0)
    service_s: float = Field(ge=0)
    waiting_s: float = Field(ge=0)
    duration_s: float = Field(ge=0, description="From leaving the depot until back")
    load: float = Field(ge=0)
    cost_dkk: float = Field(ge=0)


class UnservedVisit(_Part):
    """A visit that nobody makes, and why in words."""

    visit_id: ScopedId
    reason: str


class RoutesPlan(_Part):
    """Who makes which visit in what order, what it costs, and how sure we are.

    `objective_dkk` is fixed costs, kilometres and the price of unserved visits. `bound_dkk` is a
    proven lower bound of it; `bound_by` says what proves it. `gap` is `(objective - bound) /
    objective`: an upper limit of what could be saved, not an estimate of it.
    """

    type: Literal["routes-plan"] = "routes-plan"
    municipality_id: MunicipalityId
    inputs_hash: str = Field(description="SHA-256 of inputs, distances and times, in hexadecimal")
    search: RouteSearch
    iterations: int = Field(ge=0, description="Of all chains together")
    cut_short: bool = Field(description="The guard by the wall ended the search")
    status: SolverStatus
    objective_dkk: float
    bound_dkk: float
    bound_by: str
    gap: float
    timezone: Timezone = Field(default="UTC", description="IANA name: local hours in words")
    routes: tuple[VehicleRoute, ...]
    unserved: tuple[UnservedVisit, ...]
    explanation: str


class RouteProgress(_Part):
    """How far a search is. `share` grows from 0 to 1."""

    share: float
    iterations: int
    best_dkk: float
    unserved: int
