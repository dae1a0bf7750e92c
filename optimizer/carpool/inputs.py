"""From recorded round trips to journeys that could have been shared.

A round trip goes to where it stays longest, and back. One whose longest stay is less than half of
all its standing is a tour: whoever makes it cannot ride along with somebody who goes elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from optimizer.study import NothingToStudyError, StudyInputs, depot_named, of_days
from schemas.fleet.master_data import Depot, Vehicle, VehicleType
from schemas.fleet.vehicle_type import MOTOR
from schemas.ids import local_part, scoped
from schemas.plans.carpool import CarpoolInputs, CarpoolRules, Journey
from schemas.plans.journeys import DrivenRoundTrip, DrivenTrip, JourneyRows

MAIN_STOP_SHARE: Final = 0.5
"""Of all standing between trips: the least for a stop to be where a journey went (ours)."""

PLACE_DECIMALS: Final = 3
"""About 100 m: the same address is one place, and a travel service is told no more than that."""

_LONGEST_NAME: Final = 63
"""Characters of a vehicle's own id that leave room for an instant behind it."""

BICYCLE: Final = "of bicycles"
WITHOUT_A_STOP: Final = "without a stop on the way"
TOUR: Final = "tours without a main stop"


class _Stay(NamedTuple):
    before: DrivenTrip
    after: DrivenTrip

    @property
    def lasts(self) -> timedelta:
        return self.after.started_at - self.before.ended_at


def carpool_inputs(
    rows: JourneyRows,
    agreements: Iterable[tuple[str, str]] = (),
    rules: CarpoolRules | None = None,
) -> StudyInputs[CarpoolInputs]:
    """Return the round trips of cars and vans as journeys to their main stop and back.

    Master data have no departments: a vehicle belongs to its home depot's, named by the depot's
    own id. `agreements` are pairs of depots, by their own ids or with the municipality before.
    Raises `NothingToStudyError` without a journey, and `UnknownDepotError`.
    """
    vehicles = {vehicle.vehicle_id: vehicle for vehicle in rows.vehicles}
    depots = {depot.depot_id: depot for depot in rows.depots}
    agreed = tuple(_agreed(pair, rows.municipality_id, depots) for pair in agreements)
    left_out: Counter[str] = Counter()
    journeys: list[Journey] = []
    for round_trip in rows.round_trips:
        journey = _journey(round_trip, vehicles[round_trip.vehicle_id], depots[round_trip.depot_id])
        if isinstance(journey, Journey):
            journeys.append(journey)
        else:
            left_out[journey] += 1
    if not journeys:
        looked_at = _told(", of them", left_out)
        raise NothingToStudyError(
            f"no journey of {rows.municipality_id} in the last {rows.horizon_days} days that "
            f"there are fixes of: {len(rows.round_trips)} complete round trips{looked_at}; "
            "push more fixes, enter depots and vehicles, or look further back with --weeks"
        )
    inputs = CarpoolInputs(
        municipality_id=rows.municipality_id,
        costs=rows.costs,
        journeys=tuple(journeys),
        agreements=agreed,
        rules=rules if rules is not None else CarpoolRules(),
        timezone=rows.timezone,
    )
    return StudyInputs(inputs, _basis(rows, inputs, left_out))


def _agreed(
    pair: tuple[str, str], municipality_id: str, depot_ids: Collection[str]
) -> tuple[str, str]:
    """Return the departments of two depots. Raises `UnknownDepotError`."""
    ids = [depot_named(name, municipality_id, depot_ids, "agree") for name in pair]
    return local_part(ids[0]), local_part(ids[1])


def _journey(trip: DrivenRoundTrip, vehicle: Vehicle, depot: Depot) -> Journey | str:
    """Return a round trip as a journey, or why it is none."""
    kind = vehicle.vehicle_type
    if kind not in MOTOR and kind is not VehicleType.UNKNOWN:
        return BICYCLE
    stays = [_Stay(*pair) for pair in pairwise(trip.trips)]
    if not stays:
        return WITHOUT_A_STOP
    main = max(stays, key=lambda stay: stay.lasts)  # of equal ones the first
    if main.lasts < MAIN_STOP_SHARE * sum((stay.lasts for stay in stays), timedelta()):
        return TOUR
    home_depot_id = trip.home_depot_id or trip.depot_id
    name = f"{local_part(trip.vehicle_id)[:_LONGEST_NAME]}:{trip.started_at:%Y%m%dT%H%M%SZ}"
    return Journey(
        journey_id=scoped(vehicle.municipality_id, name),
        vehicle_id=trip.vehicle_id,
        vehicle_type=kind,
        energy_source=vehicle.energy_source,
        consumption_per_km=vehicle.consumption_per_km,
        seats=vehicle.seats,
        department=local_part(home_depot_id),
        depot_id=home_depot_id,
        origin_lat=depot.lat,
        origin_lon=depot.lon,
        destination_lat=round(main.before.end_lat, PLACE_DECIMALS),
        destination_lon=round(main.before.end_lon, PLACE_DECIMALS),
        started_at=trip.started_at,
        arrived_at=main.before.ended_at,
        left_at=main.after.started_at,
        returned_at=trip.ended_at,
        distance_m=trip.distance_m,
    )


def _told(before: str, left_out: Counter[str]) -> str:
    reasons = ", ".join(f"{count} {why}" for why, count in sorted(left_out.items()))
    return f"{before} {reasons}" if reasons else ""


def _basis(rows: JourneyRows, inputs: CarpoolInputs, left_out: Counter[str]) -> str:
    journeys = inputs.journeys
    when, _ = of_days(
        min(journey.started_at for journey in journeys),
        max(journey.ended_at for journey in journeys),
        ZoneInfo(rows.timezone),
    )
    rules = inputs.rules
    agreed = "; ".join(f"{name} with {other}" for name, other in inputs.agreements)
    parts = [
        (
            f"{len(journeys)} of {len(rows.round_trips)} complete round trips of {when}, each to "
            f"the stop where it stayed longest and back{_told('; left out:', left_out)}."
        ),
        "One person a vehicle, since nobody counts people.",
        "Master data have no departments: each home depot counts as one.",
        f"Agreed: {agreed}." if agreed else "No two of them have agreed to share.",
        (
            f"At most {rules.max_detour_m / 1000:g} km of detour each way, and "
            f"{rules.max_shift_s / 60:g} min earlier or later."
        ),
    ]
    if rules.freed_vehicle_dkk:
        parts.append(f"A vehicle less at a depot's peak is worth {rules.freed_vehicle_dkk:g} DKK.")
    free = sum(1 for journey in journeys if not journey.consumption_per_km)
    if free:
        parts.append(
            f"{free} journeys are of vehicles without a consumption entered: riding along saves "
            "nothing there."
        )
    return " ".join(parts)
