"""Distances and times from road services: Valhalla and OSRM, over HTTP.

Formats as documented: Valhalla's `/sources_to_targets` (JSON in and out, kilometres and seconds),
OSRM's `/table/v1/{profile}/{coordinates}` (metres and seconds). Both limit how many places one
request may have, so that large matrices are asked for in blocks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, TypeVar

import httpx
import stamina
from pydantic import BaseModel, Field, ValidationError

from infra.settings import TravelSettings
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.travel import Place, Travel, TravelError, TravelMatrix

COSTING: Final[Mapping[VehicleType, str]] = MappingProxyType(
    {
        VehicleType.CAR: "auto",
        VehicleType.VAN: "auto",
        VehicleType.UNKNOWN: "auto",
        VehicleType.CARGO_BIKE: "bicycle",
        VehicleType.BIKE: "bicycle",
        VehicleType.E_BIKE: "bicycle",
    }
)
"""Valhalla's name of how a type travels."""

PROFILE: Final[Mapping[VehicleType, str]] = MappingProxyType(
    {
        vehicle_type: "driving" if costing == "auto" else "cycling"
        for vehicle_type, costing in COSTING.items()
    }
)
"""OSRM's. A server has one profile's data and ignores the name: give one a server that matches."""

_ATTEMPTS: Final = 3
_SHOWN: Final = 300

_Block = list[list[tuple[float, float]]]
"""Metres and seconds by source and target."""


_Value = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Cell(BaseModel):
    distance: _Value | None
    time: _Value | None


class _ValhallaAnswer(BaseModel):
    sources_to_targets: list[list[_Cell]]


class _OsrmAnswer(BaseModel):
    code: str
    distances: list[list[_Value | None]]
    durations: list[list[_Value | None]]


_Form = TypeVar("_Form", bound=BaseModel)


def travel_of(settings: TravelSettings, otherwise: Travel) -> Travel:
    """Return the source of ways that settings name; `otherwise` where they name none."""
    match settings.service:
        case "valhalla":
            return Valhalla(settings)
        case "osrm":
            return Osrm(settings)
        case "geodesic":
            return otherwise


class _Service(ABC):
    """A server that is asked for blocks of ways."""

    def __init__(self, settings: TravelSettings) -> None:
        self._settings = settings

    def matrix(self, places: Sequence[Place], vehicle_type: VehicleType) -> TravelMatrix:
        """Ask for the ways between all places."""
        with _client(self._settings) as client:
            return _in_blocks(
                places,
                self._settings.places_per_request,
                lambda sources, targets: self._block(client, sources, targets, vehicle_type),
            )

    @abstractmethod
    def _block(
        self,
        client: httpx.Client,
        sources: Sequence[Place],
        targets: Sequence[Place],
        vehicle_type: VehicleType,
    ) -> _Block:
        """Ask for the ways from some places to others."""


class Valhalla(_Service):
    """Ways by a Valhalla server. Raises `TravelError` when it does not tell."""

    def _block(
        self,
        client: httpx.Client,
        sources: Sequence[Place],
        targets: Sequence[Place],
        vehicle_type: VehicleType,
    ) -> _Block:
        asked = {
            "sources": [{"lat": source.lat, "lon": source.lon} for source in sources],
            "targets": [{"lat": target.lat, "lon": target.lon} for target in targets],
            "costing": COSTING[vehicle_type],
            "units": "kilometers",
        }
        valhalla_rows = _told(
            client, _ValhallaAnswer, lambda: client.post("sources_to_targets", json=asked)
        ).sources_to_targets
        return [
            [
                (math.inf, math.inf)
                if cell.distance is None or cell.time is None
                else (cell.distance * 1000, cell.time)
                for cell in row
            ]
            for row in valhalla_rows
        ]


class Osrm(_Service):
    """Ways by an OSRM server. Raises `TravelError` when it does not tell."""

    def _block(
        self,
        client: httpx.Client,
        sources: Sequence[Place],
        targets: Sequence[Place],
        vehicle_type: VehicleType,
    ) -> _Block:
        coordinates = ";".join(f"{place.lon:.6f},{place.lat:.6f}" for place in (*sources, *targets))
        query = {
            "sources": ";".join(map(str, range(len(sources)))),
            "destinations": ";".join(map(str, range(len(sources), len(sources) + len(targets)))),
            "annotations": "duration,distance",
        }
        osrm = _told(
            client,
            _OsrmAnswer,
            lambda: client.get(f"table/v1/{PROFILE[vehicle_type]}/{coordinates}", params=query),
        )
        shape = [len(row) for row in osrm.distances], [len(row) for row in osrm.durations]
        if osrm.code != "Ok" or shape[0] != shape[1]:
            raise TravelError(
                f"OSRM at {client.base_url} answered {osrm.code!r} with rows of {shape}; 'Ok' "
                "and equal rows are wanted"
            )
        return [
            [
                (math.inf, math.inf) if metres is None or seconds is None else (metres, seconds)
                for metres, seconds in zip(distances, durations, strict=True)
            ]
            for distances, durations in zip(osrm.distances, osrm.durations, strict=True)
        ]


def _client(settings: TravelSettings) -> httpx.Client:
    base = str(settings.url).rstrip("/") + "/"
    return httpx.Client(base_url=base, timeout=settings.timeout_s)


def _told(client: httpx.Client, form: type[_Form], ask: Callable[[], httpx.Response]) -> _Form:
    """Return a service's answer. A lost connection is tried again, a refusal is not."""
    try:
        for attempt in stamina.retry_context(on=httpx.TransportError, attempts=_ATTEMPTS):
            with attempt:
                answer = ask()
    except httpx.TransportError as error:
        raise TravelError(
            f"no answer from {client.base_url} after {_ATTEMPTS} attempts: {error!r}; start the "
            "service, or set FLEETPULSE_TRAVEL_SERVICE=geodesic"
        ) from error
    if answer.is_error:
        raise TravelError(
            f"{client.base_url} answered {answer.status_code}: {answer.text[:_SHOWN]}; where it is "
            "too large, lower FLEETPULSE_TRAVEL_PLACES_PER_REQUEST"
        )
    try:
        return form.model_validate_json(answer.content)
    except ValidationError as error:
        raise TravelError(
            f"{client.base_url} answered something else than {form.__name__}: {error}; see that "
            "FLEETPULSE_TRAVEL_SERVICE names the service behind FLEETPULSE_TRAVEL_URL"
        ) from error


def _in_blocks(
    places: Sequence[Place],
    at_once: int,
    ask: Callable[[Sequence[Place], Sequence[Place]], _Block],
) -> TravelMatrix:
    """Ask for squares of sources and targets, and put the answers together."""
    starts = range(0, len(places), at_once)
    distance_m: list[list[float]] = [[] for _ in places]
    duration_s: list[list[float]] = [[] for _ in places]
    for first in starts:
        sources = places[first : first + at_once]
        for other in starts:
            targets = places[other : other + at_once]
            block = ask(sources, targets)
            if [len(row) for row in block] != [len(targets)] * len(sources):
                raise TravelError(
                    f"asked for {len(sources)} times {len(targets)} ways and got rows of "
                    f"{[len(row) for row in block]}; the service is not what it is set up as"
                )
            for row, values in enumerate(block, start=first):
                distance_m[row] += [metres for metres, _ in values]
                duration_s[row] += [seconds for _, seconds in values]
    return TravelMatrix(distance_m, duration_s)
