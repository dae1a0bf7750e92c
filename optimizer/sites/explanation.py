"""Why a site is open or closed, in words with the numbers in them.

Each number is what a year would be if this site alone were closed, or opened, and the others
stayed as proposed.
"""

from __future__ import annotations

from typing import Final

from optimizer.sites.cost_breakdown import SiteChange
from schemas.plans.sites import CandidateSite, SiteFinding, SiteKind, SitesCost
from schemas.plans.travel import Place

SHOWN_DECIMALS: Final = 2
"""Of degrees, for places: about a kilometre, as in all that readers see (ADR 4)."""


def shown_place(site: CandidateSite) -> Place:
    """Return where a site is, for people to see: a place to a hundredth of a degree."""
    if site.kind is SiteKind.DEPOT:
        return Place(site.lat, site.lon)
    return Place(round(site.lat, SHOWN_DECIMALS), round(site.lon, SHOWN_DECIMALS))


def name_of(site: CandidateSite | SiteFinding) -> str:
    """Return what a site is called, and of a place about where it is."""
    if site.kind is SiteKind.DEPOT:
        return site.site_id
    return f"{site.site_id} (near {site.lat:.2f}, {site.lon:.2f})"


def reason(
    site: CandidateSite,
    change: SiteChange | None,
    *,
    is_open: bool,
    round_trips: float,
    at_once: int,
) -> str:
    """Return the reason of one site; `change` is None where it is the only one."""
    if change is None:
        text = f"It is the only site: all {_trips(round_trips)} a year are served from it."
    elif is_open:
        text = _of_open(site, change)
    else:
        text = _of_closed(site, change)
    stays = "It must stay, as asked. " if site.must_stay else ""
    return f"{stays}{text}{_parking(site, at_once) if is_open else ''}"


def _of_open(site: CandidateSite, change: SiteChange) -> str:
    rent = f"{site.dkk_per_year:,.0f} DKK"
    if not change.round_trips:
        return (
            f"No round trip is nearer to {name_of(site)} than to another open site; without it "
            f"{rent} a year would be saved."
        )
    if site.kind is SiteKind.DEPOT:
        return (
            f"Closing {name_of(site)} would put {_trips(change.round_trips)} a year "
            f"{_km(change.further_m)} km further each way: +{change.driving_dkk:,.0f} DKK of "
            f"driving, and {rent} saved."
        )
    return (
        f"Opening {name_of(site)} brings {_trips(change.round_trips)} a year "
        f"{_km(change.further_m)} km nearer each way: -{change.driving_dkk:,.0f} DKK of driving, "
        f"for {rent}."
    )


def _of_closed(site: CandidateSite, change: SiteChange) -> str:
    rent = f"{site.dkk_per_year:,.0f} DKK"
    if site.kind is SiteKind.DEPOT:
        if not change.round_trips:
            return (
                f"Closing {name_of(site)} puts no round trip further, for an open site is as near "
                f"to each: saves {rent} a year."
            )
        return (
            f"Closing {name_of(site)} puts {_trips(change.round_trips)} a year "
            f"{_km(change.further_m)} km further each way: +{change.driving_dkk:,.0f} DKK of "
            f"driving, saves {rent}."
        )
    if not change.round_trips:
        return f"No round trip is nearer to {name_of(site)} than to an open site."
    return (
        f"Opening {name_of(site)} would bring {_trips(change.round_trips)} a year "
        f"{_km(change.further_m)} km nearer each way: -{change.driving_dkk:,.0f} DKK of driving, "
        f"for {rent}."
    )


def _parking(site: CandidateSite, at_once: int) -> str:
    if site.capacity is not None and at_once <= site.capacity:
        return ""
    has = "" if site.capacity is None else f", and it has {site.capacity} parking places"
    return f" At most {at_once} of its cars and vans are out at once{has}."


def explanation(
    findings: tuple[SiteFinding, ...],
    as_driven: SitesCost,
    nearest: SitesCost,
    proposed: SitesCost,
    count: int | None,
) -> str:
    """Return the proposal in words, beside the depots as they are."""
    kept = [finding for finding in findings if finding.is_open and finding.kind is SiteKind.DEPOT]
    opened = [finding for finding in findings if finding.is_open and finding.kind is SiteKind.PLACE]
    closed = [
        finding for finding in findings if not finding.is_open and finding.kind is SiteKind.DEPOT
    ]
    what = "; ".join(
        f"{verb} {', '.join(map(name_of, sites))}"
        for verb, sites in (("keep", kept), ("close", closed), ("open", opened))
        if sites
    )
    so_many = f"{count} site" if count == 1 else f"{count} sites"
    asked = f" With exactly {so_many}, as asked." if count is not None else ""
    parts = [
        f"{what.capitalize()[:1]}{what[1:]}.{asked}",
        (
            f"A year costs {proposed.cost_dkk:,.0f} DKK, {proposed.sites_dkk:,.0f} of them for "
            f"sites; the depots as they are cost {as_driven.cost_dkk:,.0f} DKK, "
            f"{as_driven.sites_dkk:,.0f} of them for sites: {_less(as_driven, proposed)}."
        ),
        (
            f"Of it, {_less(as_driven, nearest)} if each trip starts from the nearest existing "
            f"depot, and {_less(nearest, proposed)} with the proposed sites."
        ),
        (
            f"CO2e of these ways: {proposed.co2e_kg:,.0f} kg a year, as driven "
            f"{as_driven.co2e_kg:,.0f} kg."
        ),
    ]
    short = [
        f"{site_id.site_id} needs {site_id.vehicles_at_once} and has {site_id.capacity}"
        for site_id in kept
        if site_id.capacity is not None and site_id.vehicles_at_once > site_id.capacity
    ]
    if short:
        parts.append(f"Parking places are missing: {'; '.join(short)}.")
    return " ".join(parts)


def _less(before: SitesCost, after: SitesCost) -> str:
    saved = before.cost_dkk - after.cost_dkk
    return f"{saved:,.0f} DKK saved" if saved >= 0 else f"{-saved:,.0f} DKK lost"


def _trips(count: float) -> str:
    return f"{count:,.0f} round trips"


def _km(length_m: float) -> str:
    return f"{length_m / 1000:,.1f}"
