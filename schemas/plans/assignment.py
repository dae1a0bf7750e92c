"""Which round trip takes which vehicle: what is asked, and the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.events.fix import UtcDatetime
from schemas.fleet.costs import Costs
from schemas.fleet.vehicle_type import VehicleType
from schemas.ids import MunicipalityId, ScopedId
from schemas.plans.plan import SolverStatus

RoundTripId = Annotated[str, Field(min_length=1, max_length=120)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Interval(_Part):
    started_at: UtcDatetime
    ended_at: UtcDatetime

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ended_at <= self.started_at:
            raise ValueError(
                f"ends at {self.ended_at.isoformat()}, not after its start at "
                f"{self.started_at.isoformat()}; give an end after the start"
            )
        return self


class WantedRoundTrip(_Interval):
    """A round trip that needs a vehicle of its depot: back there when it ends."""

    round_trip_id: RoundTripId
    depot_id: ScopedId
    distance_m: float = Field(ge=0)
    vehicle_class: VehicleType
    seats: int = Field(default=1, ge=1)


class Unavailable(_Interval):
    """A time when a vehicle cannot be had: outside its shifts, in the workshop, lent out."""


class AssignableVehicle(_Part):
    """A vehicle that stands at a depot over the whole horizon."""

    vehicle_id: ScopedId
    depot_id: ScopedId
    vehicle_class: VehicleType
    seats: int = Field(default=5, ge=1)
    cost_dkk: float = Field(default=0.0, ge=0, description="Of using it at all in the horizon")
    cost_dkk_per_km: float = Field(default=0.0, ge=0)
    unavailable: tuple[Unavailable, ...] = ()


class VehicleLock(_Part):
    """A round trip that has its vehicle already: it stays so."""

    round_trip_id: RoundTripId
    vehicle_id: ScopedId


class EmptyDrive(_Part):
    """How long it takes to bring an empty vehicle from one depot to another."""

    from_depot_id: ScopedId
    to_depot_id: ScopedId
    duration_s: float = Field(ge=0)

    @model_validator(mode="after")
    def _leads_elsewhere(self) -> Self:
        if self.from_depot_id == self.to_depot_id:
            raise ValueError(
                f"empty drive from {self.from_depot_id} to itself; give it between two depots"
            )
        return self


def _trips_by_time(trips: tuple[WantedRoundTrip, ...]) -> tuple[WantedRoundTrip, ...]:
    return tuple(
        sorted(trips, key=lambda trip: (trip.started_at, trip.ended_at, trip.round_trip_id))
    )


def _vehicles_by_id(vehicles: tuple[AssignableVehicle, ...]) -> tuple[AssignableVehicle, ...]:
    return tuple(sorted(vehicles, key=lambda vehicle: vehicle.vehicle_id))


def _locks_by_id(locks: tuple[VehicleLock, ...]) -> tuple[VehicleLock, ...]:
    return tuple(sorted(locks, key=lambda lock: lock.round_trip_id))


def _drives_by_depots(drives: tuple[EmptyDrive, ...]) -> tuple[EmptyDrive, ...]:
    return tuple(sorted(drives, key=lambda drive: (drive.from_depot_id, drive.to_depot_id)))


class AssignmentInputs(_Part):
    """All that an assignment is derived from; the order in which rows are read is lost here.

    Raises `pydantic.ValidationError` for an id that comes twice, a round trip that is locked to
    two vehicles, and a lock of what is not there.
    """

    municipality_id: MunicipalityId
    costs: Costs = Costs()
    timezone: str = Field(description="IANA name: local hours in the explanation")
    changeover_s: float = Field(default=300.0, ge=0)
    vehicles: Annotated[tuple[AssignableVehicle, ...], AfterValidator(_vehicles_by_id)]
    round_trips: Annotated[tuple[WantedRoundTrip, ...], AfterValidator(_trips_by_time)]
    locks: Annotated[tuple[VehicleLock, ...], AfterValidator(_locks_by_id)] = ()
    empty_drives: Annotated[tuple[EmptyDrive, ...], AfterValidator(_drives_by_depots)] = Field(
        default=(),
        description="For the bound with repositioning only: no vehicle is assigned elsewhere",
    )

    @model_validator(mode="after")
    def _ids_are_unique_and_known(self) -> Self:
        trips = {round_trip.round_trip_id for round_trip in self.round_trips}
        vehicles = {vehicle.vehicle_id for vehicle in self.vehicles}
        _refuse_twice("round trip", (round_trip.round_trip_id for round_trip in self.round_trips))
        _refuse_twice("vehicle", (vehicle.vehicle_id for vehicle in self.vehicles))
        _refuse_twice("lock of round trip", (lock.round_trip_id for lock in self.locks))
        _refuse_twice(
            "empty drive",
            (
                f"{empty_drive.from_depot_id} to {empty_drive.to_depot_id}"
                for empty_drive in self.empty_drives
            ),
        )
        for lock in self.locks:
            if lock.round_trip_id not in trips or lock.vehicle_id not in vehicles:
                raise ValueError(
                    f"lock of round trip {lock.round_trip_id} to vehicle {lock.vehicle_id}: not "
                    "both are in the inputs; add what is missing or drop the lock"
                )
        return self


def _refuse_twice(what: str, ids: Iterable[str]) -> None:
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise ValueError(f"{what} {', '.join(twice[:5])} comes twice; keep one of each")


class UnservedRoundTrip(_Part):
    """A round trip without a vehicle: what an own car costs instead, and why."""

    round_trip_id: RoundTripId
    price_dkk: float
    reason: str


class DepotUse(_Part):
    """How many vehicles of a class a depot has, uses, and would need at once."""

    depot_id: ScopedId
    vehicle_class: VehicleType
    vehicles: int
    used: int
    peak_overlap: int = Field(description="Most round trips at once, changeovers included")
    unserved: int


class FewestVehicles(_Part):
    """How few vehicles of a class could serve all its round trips, if they moved between depots.

    Of any fleet: seats, prices, locks and times when vehicles cannot be had are left out. Compare
    `DepotUse.peak_overlap`, of which `peak_overlaps` is the sum: the fewest without moving.
    """

    vehicle_class: VehicleType
    round_trips: int
    peak_overlaps: int
    fewest_vehicles: int = Field(description="Round trips less the largest matching of successors")


class AssignmentPlan(_Part):
    """Which round trip takes which vehicle, what it costs, and how sure we are.

    Costs are DKK over the horizon: using vehicles, driving them, and own cars for what is not
    served. `bound_dkk` is a proven lower bound of `objective_dkk`; `gap` is `(objective - bound) /
    objective`. Where locks contradict each other or a vehicle it is infeasible: nothing is
    assigned, the bound is 0, the gap 1, and the explanation names the locks.
    """

    type: Literal["assignment-plan"] = "assignment-plan"
    municipality_id: MunicipalityId
    inputs_hash: str = Field(description="SHA-256 of the canonical inputs, in hexadecimal")
    seed: int
    time_limit_s: float = Field(description="Deterministic time")
    status: SolverStatus
    objective_dkk: float
    bound_dkk: float
    gap: float
    vehicles_used: int
    assignment: dict[str, str] = Field(description="round_trip_id to vehicle_id")
    unserved: tuple[UnservedRoundTrip, ...]
    depots: tuple[DepotUse, ...]
    repositioning: tuple[FewestVehicles, ...] = Field(
        default=(), description="For each class, where the inputs have empty drives"
    )
    explanation: str = Field(description="In words: what is served, and what lacks where and when")
