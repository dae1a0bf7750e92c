"""What a year costs from given sites: having them, and the driving to first stops and from last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from optimizer.assignment.flow import overlaps
from optimizer.study import DAYS_A_YEAR
from optimizer.travel import roads_m
from optimizer.work_budget import Bools, Floats, Ints
from schemas.plans.sites import SitesCost, SitesInputs
from schemas.plans.travel import Place

_M_PER_KM: Final = 1000.0
_TIE_M: Final = 0.001
"""Sites so little further are as near: what is less is the error of floats."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SiteChange:
    """What it does to a year when one site is closed, or opened, and the others stay.

    `round_trips` of a year are served elsewhere, by `further_m` more each way in the mean, which
    costs `driving_dkk` more with it closed. `way_m` is their mean way each way with it open.
    """

    round_trips: float
    way_m: float
    further_m: float
    driving_dkk: float


class YearlySitesCost:
    """Round trips as numbers: clients are those with the same first and last stop.

    `driving_dkk` is clients x sites, a year's; `client` has the client of each round trip.
    """

    def __init__(self, inputs: SitesInputs) -> None:
        self._inputs = inputs
        self.a_year = DAYS_A_YEAR / inputs.observed_days
        trips = inputs.round_trips
        first = [Place(trip.first_lat, trip.first_lon) for trip in trips]
        last = [Place(trip.last_lat, trip.last_lon) for trip in trips]
        pairs = sorted(set(zip(first, last, strict=True)))
        number = {pair: position for position, pair in enumerate(pairs)}
        self.client: Ints = np.array([number[pair] for pair in zip(first, last, strict=True)])
        places = sorted({place for pair in pairs for place in pair})
        row = {place: position for position, place in enumerate(places)}
        ways_m = roads_m(places, [Place(site.lat, site.lon) for site in inputs.sites], inputs.costs)
        self.way_m: Floats = (
            ways_m[[row[out] for out, _ in pairs]] + ways_m[[row[back] for _, back in pairs]]
        )
        self.site_dkk: Floats = np.array([site.dkk_per_year for site in inputs.sites])
        self._energy = np.array([trip.energy_dkk_per_km for trip in trips]) * self.a_year
        self._co2e = np.array([trip.co2e_kg_per_km for trip in trips]) * self.a_year
        self._staff = np.array([trip.staff_dkk_per_km for trip in trips]) * self.a_year
        price = self._energy + self._co2e * inputs.costs.co2_price_dkk_per_kg + self._staff
        self._count: Ints = np.bincount(self.client, minlength=len(pairs))
        a_km = np.bincount(self.client, weights=price, minlength=len(pairs))
        self.driving_dkk: Floats = self.way_m / _M_PER_KM * a_km[:, None]
        position = {
            candidate_site.depot_id: place for place, candidate_site in enumerate(inputs.sites)
        }
        self.left: Ints = np.array([position[trip.depot_id] for trip in trips])
        """The site that each round trip left."""

    def nearest(self, sites: Ints) -> Ints:
        """Return which of some sites is nearest to each client; of equal ones the first."""
        nearest: Ints = sites[self.way_m[:, sites].argmin(axis=1)]
        return nearest

    def cost(self, sites: Ints, of_trip: Ints) -> SitesCost:
        """Return what it costs to have some sites and to make each round trip from one of them."""
        way_km = self.way_m[self.client, of_trip] / _M_PER_KM
        energy_dkk, co2e_kg, staff_dkk = (
            float((way_km * part).sum()) for part in (self._energy, self._co2e, self._staff)
        )
        sites_dkk = float(self.site_dkk[sites].sum())
        co2e_dkk = co2e_kg * self._inputs.costs.co2_price_dkk_per_kg
        return SitesCost(
            sites=len(sites),
            sites_dkk=sites_dkk,
            energy_dkk=energy_dkk,
            co2e_dkk=co2e_dkk,
            staff_dkk=staff_dkk,
            cost_dkk=sites_dkk + energy_dkk + co2e_dkk + staff_dkk,
            distance_m=float(way_km.sum()) * self.a_year * _M_PER_KM,
            co2e_kg=co2e_kg,
        )

    def change(self, site: int, others: Ints) -> SiteChange:
        """Return what a site is worth beside others, one at least."""
        elsewhere = self.nearest(others)
        clients = np.arange(len(self.way_m))
        further_m = self.way_m[clients, elsewhere] - self.way_m[:, site]
        nearer = further_m > _TIE_M
        count = int(self._count[nearer].sum())
        if not count:
            return SiteChange(0.0, 0.0, 0.0, 0.0)
        extra_dkk = self.driving_dkk[clients, elsewhere] - self.driving_dkk[:, site]
        return SiteChange(
            count * self.a_year,
            float((self.way_m[nearer, site] * self._count[nearer]).sum()) / count / 2,
            float((further_m * self._count)[nearer].sum()) / count / 2,
            float(extra_dkk[nearer].sum()),
        )

    def served(self, of_trip: Ints, site: int) -> tuple[float, float | None, int]:
        """Return round trips a year of a site, their mean way each way, and cars out at once."""
        own = of_trip == site
        if not own.any():
            return 0.0, None, 0
        way_m = float(self.way_m[self.client[own], site].mean()) / 2
        return int(own.sum()) * self.a_year, way_m, self._at_once(own)

    def _at_once(self, own: Bools) -> int:
        """Return how many cars and vans of some round trips are out at once at most."""
        ours = [
            round_trip
            for round_trip, taken in zip(self._inputs.round_trips, own.tolist(), strict=True)
            if taken and round_trip.takes_place
        ]
        starts, ends = (
            np.array([_us(at) for at in instants], dtype=np.int64)
            for instants in ([our.started_at for our in ours], [our.ended_at for our in ours])
        )
        return int(overlaps(starts, ends).max(initial=0))


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
