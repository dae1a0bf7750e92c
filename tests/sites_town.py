"""Round trips for studies of sites, and an account of what sites cost that shares no code."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from pyproj import Geod

from schemas.plans.sites import CandidateSite, SiteRoundTrip, SitesInputs

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
CO2E_DKK_PER_KG = 1.5
_GEOD = Geod(ellps="WGS84")

Position = tuple[float, float]


def site(name: str, at: Position, dkk: float = 25_000, *, stay: bool = False) -> CandidateSite:
    """Return a depot, or a place where the name says so."""
    place = name.startswith("place")
    return CandidateSite(
        site_id=name,
        depot_id=None if place else f"m/{name}",
        lat=at[0],
        lon=at[1],
        dkk_per_year=dkk,
        capacity=None if place else 3,
        must_stay=stay,
    )


def trip(
    depot: str, first: Position, last: Position | None = None, hour: float = 0, dkk: float = 1.0
) -> SiteRoundTrip:
    """Return an hour's round trip by car; energy and staff cost `dkk` a kilometre together."""
    back = first if last is None else last
    return SiteRoundTrip(
        depot_id=f"m/{depot}",
        started_at=MONDAY + timedelta(hours=hour),
        ended_at=MONDAY + timedelta(hours=hour + 1),
        first_lat=first[0],
        first_lon=first[1],
        last_lat=back[0],
        last_lon=back[1],
        energy_dkk_per_km=0.25 * dkk,
        co2e_kg_per_km=0.15,
        staff_dkk_per_km=0.75 * dkk,
        takes_place=True,
    )


def way_km(site_round_trip: SiteRoundTrip, of: CandidateSite) -> float:
    """Return the road to the first stop and back from the last one."""
    _, _, out_m = _GEOD.inv(of.lon, of.lat, site_round_trip.first_lon, site_round_trip.first_lat)
    _, _, back_m = _GEOD.inv(site_round_trip.last_lon, site_round_trip.last_lat, of.lon, of.lat)
    return float(1.3 * (out_m + back_m) / 1000)


def a_year(inputs: SitesInputs) -> float:
    return 365.25 / inputs.observed_days


def driving_dkk(inputs: SitesInputs, site_round_trip: SiteRoundTrip, of: CandidateSite) -> float:
    """Return what a round trip's way costs in a year, as often as it comes again."""
    per_km = (
        site_round_trip.energy_dkk_per_km
        + site_round_trip.staff_dkk_per_km
        + CO2E_DKK_PER_KG * site_round_trip.co2e_kg_per_km
    )
    return way_km(site_round_trip, of) * per_km * a_year(inputs)


def cost_dkk(inputs: SitesInputs, sites: Collection[CandidateSite]) -> float:
    """Return what a year costs with some sites open, each round trip from the nearest."""
    return sum(site.dkk_per_year for site in sites) + sum(
        driving_dkk(inputs, round_trip, min(sites, key=lambda of: way_km(round_trip, of)))
        for round_trip in inputs.round_trips
    )
