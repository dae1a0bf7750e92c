"""Forecast: how many round trips will leave each depot, hour by hour, and how far to trust it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.events.fix import UtcDatetime
from schemas.ids import MunicipalityId, ScopedId

WEEK_DAYS: Final = 7
LONGEST_DAYS: Final = 28
"""Of a forecast: a profile of the week tells no more about the month after (ours)."""

Method = Literal["seasonal", "same hour last week"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Departure(_Part):
    """A round trip that left a depot. The class is what it needs: `car`, `van`, `near`."""

    depot_id: ScopedId
    trip_class: Annotated[str, Field(min_length=1, max_length=40)]
    started_at: UtcDatetime


class ForecastRules(_Part):
    """How a forecast is judged. The defaults are ours."""

    folds: int = Field(default=6, ge=2, le=52, description="Weeks that are forecast in hindsight")
    margin: float = Field(
        default=0.03,
        ge=0,
        lt=1,
        description="Share of the error of the same hour last week that must be saved at least",
    )
    least_weeks: int = Field(default=4, ge=2, description="Before the first fold")


def _by_time(departures: tuple[Departure, ...]) -> tuple[Departure, ...]:
    return tuple(
        sorted(
            departures,
            key=lambda departure: (departure.started_at, departure.depot_id, departure.trip_class),
        )
    )


def _sorted_days(days: tuple[date, ...]) -> tuple[date, ...]:
    return tuple(sorted(set(days)))


class ForecastInputs(_Part):
    """All that a forecast is derived from; the order in which rows are read is lost here.

    `first_day` and `last_day` are the whole local days that were observed, both included. A day
    without departures is a day without demand. `holidays` are public holidays and days off of
    these days and of the week to be forecast.

    Raises `pydantic.ValidationError` where fewer than seven days were observed.
    """

    municipality_id: MunicipalityId
    timezone: str = Field(description="IANA name: local days and hours")
    first_day: date
    last_day: date
    holidays: Annotated[tuple[date, ...], AfterValidator(_sorted_days)] = ()
    horizon_days: int = Field(
        default=WEEK_DAYS,
        ge=1,
        le=LONGEST_DAYS,
        description="To be forecast; the first week is judged",
    )
    departures: Annotated[tuple[Departure, ...], AfterValidator(_by_time)]
    rules: ForecastRules = ForecastRules()

    @property
    def days(self) -> int:
        """How many local days were observed."""
        return (self.last_day - self.first_day).days + 1

    @model_validator(mode="after")
    def _a_week_at_least(self) -> Self:
        if self.days < WEEK_DAYS:
            raise ValueError(
                f"{self.days} days from {self.first_day} to {self.last_day}; there is no same hour "
                f"last week with fewer than {WEEK_DAYS}: observe longer"
            )
        return self


class FoldError(_Part):
    """A week forecast in hindsight from the days before it."""

    first_day: date
    departures: int
    seasonal_mae: float = Field(description="Departures an hour")
    naive_mae: float


class ForecastBackTest(_Part):
    """How both methods did over all folds.

    WAPE is the sum of absolute errors over the sum of departures, hour by hour.
    """

    folds: tuple[FoldError, ...]
    seasonal_wape: float
    naive_wape: float
    folds_won: int = Field(description="In which seasonal errs less")


class SeriesForecast(_Part):
    """The days after the last one at one depot, in one class: what is used, and why."""

    depot_id: ScopedId
    trip_class: str
    used: Method
    reason: str
    back_test: ForecastBackTest | None = Field(
        description="None where there is too little to judge by"
    )
    hourly: tuple[tuple[float, ...], ...] = Field(
        description="Departures expected, days of the horizon by 24 local hours"
    )


class ForecastProgress(_Part):
    """How far a long run is."""

    done: int
    series: int
    spent_s: float
    limit_s: float = Field(description="Deterministic time")


class Forecast(_Part):
    """What is to be expected in the days of the horizon from `first_day`.

    Nothing is optimised: instead of bound and gap there is the back-test of each series. `status`
    is `feasible` where the limit left series without one, which then use the same hour last week.
    """

    type: Literal["forecast"] = "forecast"
    municipality_id: MunicipalityId
    inputs_hash: str = Field(description="SHA-256 of the canonical inputs, in hexadecimal")
    seed: int
    time_limit_s: float = Field(description="Deterministic time")
    status: Literal["complete", "feasible"]
    first_day: date
    series: tuple[SeriesForecast, ...]
    seasonal_wape: float | None = Field(description="Of all series with a back-test together")
    naive_wape: float | None
    explanation: str
