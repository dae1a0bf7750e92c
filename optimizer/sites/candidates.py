"""Where vehicles could stand: present depots, and parts of town where most stops are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from optimizer.sites.clusters import SITE_CELL_M, Stop, clusters_of
from optimizer.study import ImpossibleOptionError
from optimizer.travel import roads_m
from schemas.fleet.costs import Costs
from schemas.ids import local_part
from schemas.plans.journeys import JourneyRows
from schemas.plans.sites import CandidateSite
from schemas.plans.travel import Place

PLACES: Final = 20
"""Of the busiest, as many as are looked at (ours)."""

MIN_VEHICLES: Final = 3
"""That stop at a place before it is looked at: one of fewer may be somebody's home (ours)."""


NEAR_M: Final = 1_000.0
"""As the crow flies: a place no further from a depot is no other site than that (ours)."""


@dataclass(frozen=True, slots=True)
class SitesWishes:
    """What a sites study is asked with: DKK a year, depots by their own ids or in full.

    `count` sites exactly, or as many as pay; `keep` are depots that may not be closed. `depot_dkk`
    is what single depots cost, and `site_dkk` all others; without it the
    municipality's costs say so. With `staff_time` a kilometre costs the
    time of who drives, too.
    """

    count: int | None = None
    keep: Sequence[str] = ()
    places: int = PLACES
    site_dkk: float | None = None
    depot_dkk: Mapping[str, float] = field(default_factory=dict)
    staff_time: bool = True

    def dkk_of_site(self, costs: Costs) -> float:
        """Return what a site costs a year where nothing else is given."""
        return costs.site_dkk_per_year if self.site_dkk is None else self.site_dkk


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be open, and how many places were too near a depot or of too few vehicles."""

    sites: tuple[CandidateSite, ...]
    at_depots: int
    of_few: int


def candidates(
    rows: JourneyRows,
    wishes: SitesWishes,
    stops: Sequence[Stop],
    staying: set[str],
    dkk: Mapping[str, float],
) -> Candidates:
    """Return present depots in the order of their ids, then places, the busiest first.

    `staying` are ids of depots that must stay, `dkk` what depots cost a year that do not cost what
    others do.
    """
    site_dkk = wishes.dkk_of_site(rows.costs)
    depots = sorted(rows.depots, key=lambda depot: depot.depot_id)
    sites = [
        CandidateSite(
            site_id=local_part(depot.depot_id),
            depot_id=depot.depot_id,
            lat=depot.lat,
            lon=depot.lon,
            dkk_per_year=dkk.get(depot.depot_id, site_dkk),
            capacity=depot.capacity,
            must_stay=depot.depot_id in staying,
        )
        for depot in depots
    ]
    parts = clusters_of(stops, SITE_CELL_M)
    ranked = sorted(parts.items(), key=lambda item: (-item[1].stops, item[0]))
    away_m = roads_m(
        [cluster.place for _, cluster in ranked],
        [Place(depot.lat, depot.lon) for depot in depots],
        rows.costs,
    ).min(axis=1)
    apart = [
        cluster
        for (_, cluster), length_m in zip(ranked, away_m, strict=True)
        if length_m > NEAR_M * rows.costs.road_factor
    ]
    many = [cluster for cluster in apart if cluster.vehicles >= MIN_VEHICLES]
    sites += [
        CandidateSite(
            site_id=f"place {number}",
            depot_id=None,
            lat=cluster.place.lat,
            lon=cluster.place.lon,
            dkk_per_year=site_dkk + rows.costs.fitting_out_dkk_per_year,
            capacity=None,
        )
        for number, cluster in enumerate(many[: wishes.places], start=1)
    ]
    return Candidates(tuple(sites), len(ranked) - len(apart), len(apart) - len(many))


def check_count(count: int | None, sites: Sequence[CandidateSite]) -> None:
    """Raise `ImpossibleOptionError` for a count that these sites cannot make."""
    if count is None:
        return
    staying = [site.site_id for site in sites if site.must_stay]
    if count < len(staying):
        raise ImpossibleOptionError(
            f"{count} sites are asked for, and {len(staying)} must stay ({', '.join(staying)}); "
            f"ask for {len(staying)} at least, or keep fewer"
        )
    if count > len(sites):
        places = sum(1 for site in sites if site.depot_id is None)
        raise ImpossibleOptionError(
            f"{count} sites are asked for, and there are {len(sites)} to choose from: "
            f"{len(sites) - places} depots and {places} places; ask for {len(sites)} at most, look "
            "at more places with --places, or look further back with --weeks"
        )
