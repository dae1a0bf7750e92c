"""Sites: which depots to keep, and which places in town would serve better."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.events.fix import UtcDatetime
from schemas.fleet.costs import Costs
from schemas.ids import MunicipalityId, ScopedId
from schemas.plans.plan import SolverStatus


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SiteKind(StrEnum):
    """What stands there now."""

    DEPOT = "depot"
    PLACE = "place"


class CandidateSite(_Part):
    """Where vehicles could stand: a present depot, or a place that many go to."""

    site_id: str = Field(min_length=1, description="A depot's own id, or place 1, place 2, …")
    depot_id: ScopedId | None = Field(description="None: a place")
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    dkk_per_year: float = Field(ge=0, description="What it costs to have it")
    capacity: int | None = Field(ge=0, description="Parking places; None where nobody knows")
    must_stay: bool = Field(default=False, description="Open whatever it costs")

    @property
    def kind(self) -> SiteKind:
        """What stands there now."""
        return SiteKind.PLACE if self.depot_id is None else SiteKind.DEPOT


class SiteRoundTrip(_Part):
    """A round trip: from a depot to its first stop, on, and from its last stop back.

    Between these two stops it drives what it drives, wherever it is at home.
    """

    depot_id: ScopedId = Field(description="That it left")
    started_at: UtcDatetime
    ended_at: UtcDatetime
    first_lat: float = Field(ge=-90, le=90)
    first_lon: float = Field(ge=-180, le=180)
    last_lat: float = Field(ge=-90, le=90)
    last_lon: float = Field(ge=-180, le=180)
    energy_dkk_per_km: float = Field(ge=0)
    co2e_kg_per_km: float = Field(ge=0)
    staff_dkk_per_km: float = Field(ge=0, description="Time of who drives")
    takes_place: bool = Field(description="Its vehicle takes a parking place; a bicycle does not")


def _by_time(round_trips: tuple[SiteRoundTrip, ...]) -> tuple[SiteRoundTrip, ...]:
    return tuple(
        sorted(
            round_trips,
            key=lambda round_trip: (round_trip.started_at, round_trip.model_dump_json()),
        )
    )


class SitesInputs(_Part):
    """All that a sites plan is derived from; the order in which rows are read is lost here.

    Raises `pydantic.ValidationError` for sites of one name, without a round trip, for a round trip
    of a depot that is no site, and for a count that the sites cannot make.
    """

    municipality_id: MunicipalityId
    costs: Costs = Costs()
    observed_days: float = Field(ge=1, description="Days of the round trips; scaled to a year")
    sites: tuple[CandidateSite, ...] = Field(min_length=1)
    round_trips: Annotated[tuple[SiteRoundTrip, ...], AfterValidator(_by_time)] = Field(
        min_length=1
    )
    count: int | None = Field(
        default=None, ge=1, description="Exactly so many sites; None: as many as pay"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [site.site_id for site in self.sites]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} comes twice; give each site a name of its own")
        depot_ids = {site.depot_id for site in self.sites}
        unknown = sorted({round_trip.depot_id for round_trip in self.round_trips} - depot_ids)
        if unknown:
            raise ValueError(f"round trips left {', '.join(unknown)}; give each depot as a site")
        staying = sum(site.must_stay for site in self.sites)
        if self.count is not None and not staying <= self.count <= len(self.sites):
            raise ValueError(
                f"{self.count} sites of {len(self.sites)}, {staying} of which must stay; give a "
                f"number from {max(1, staying)} to {len(self.sites)}"
            )
        return self


class SitesCost(_Part):
    """What sites cost a year, and the driving from them to first stops and back from last ones."""

    sites: int
    sites_dkk: float = Field(description="To have them")
    energy_dkk: float
    co2e_dkk: float = Field(description="At the price of CO2e")
    staff_dkk: float = Field(description="Time of who drives")
    cost_dkk: float = Field(description="The sum of these")
    distance_m: float
    co2e_kg: float


class SiteFinding(_Part):
    """Whether a site is open in the proposal, and why.

    Places are told to a hundredth of a degree: a place that many go to may be somebody's home.
    """

    site_id: str
    kind: SiteKind
    depot_id: ScopedId | None
    lat: float
    lon: float
    is_open: bool
    must_stay: bool
    dkk_per_year: float
    round_trips_per_year: float = Field(
        description="That it serves; closed: that would be served from it, if it alone were opened"
    )
    way_m: float | None = Field(
        description="Mean road from it to a first stop or from a last one; None without round trips"
    )
    further_m: float | None = Field(
        description="The same to the next best site, beyond that; None without one or round trips"
    )
    driving_dkk: float | None = Field(
        description="A year's driving that it spares, or would; None where it is the only one"
    )
    vehicles_at_once: int = Field(
        description="Cars and vans of it that are out at once at most, open as in the proposal"
    )
    capacity: int | None
    reason: str


class SitesPlan(_Part):
    """Which sites to have, what they cost a year, and how sure we are.

    `objective_dkk` is what the proposal costs a year, `bound_dkk` a proven lower bound of it, `gap`
    is `(objective - bound) / objective`.
    """

    type: Literal["sites-plan"] = "sites-plan"
    municipality_id: MunicipalityId
    inputs_hash: str = Field(description="SHA-256 of inputs and cost constants, in hexadecimal")
    seed: int
    time_limit_s: float
    status: SolverStatus
    objective_dkk: float
    bound_dkk: float
    gap: float
    count: int | None = Field(description="Sites that were asked for; None: as many as pay")
    as_driven: SitesCost = Field(description="All depots, each round trip from its own")
    nearest: SitesCost = Field(description="All depots, each round trip from the nearest one")
    proposed: SitesCost
    sites: tuple[SiteFinding, ...]
    explanation: str
