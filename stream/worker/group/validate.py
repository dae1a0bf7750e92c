"""Which fixes are taken: none that is wrong by itself, or of a vendor that may not report its id.

The others become dead letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from infra.database.fleet.master_data import FleetSnapshot
from infra.database.stream.progress import DeadLetterRecord
from processors.timeline.validation import fault, suspects
from schemas.events.dead_letters import DeadLetterReason
from schemas.ids import municipality_of
from stream.worker.decode.batch import Batch
from stream.worker.decode.columnar import FixColumns
from stream.worker.decode.records import DecodedFix, fix_letter
from stream.worker.master_data import MasterData

_REASON_LIMIT: Final = 1_000


def first_vendors(batch: Batch, master_data: MasterData) -> dict[str, str]:
    """Return who is the first to report which ids that nobody has reported yet.

    The first one in the stream: of messages as plain as of others. Of a municipality that is not
    entered nothing is.
    """
    first: dict[str, tuple[int, str]] = {}

    def note(vehicle_id: str, vendor: str, rank: int) -> None:
        if vehicle_id in master_data.vendors or (
            municipality_of(vehicle_id) not in master_data.fleet.municipalities
        ):
            return
        first[vehicle_id] = min(first.get(vehicle_id, (rank, vendor)), (rank, vendor))

    for item in batch.items:
        note(item.arrival.fix.vehicle_id, item.vendor, batch.rank_of(item))
    columns = batch.columns
    if columns is not None and not master_data.vendors.keys() >= set(columns.vehicle_ids):
        for vehicle_id, message in columns.senders():
            note(vehicle_id, message.vendor, batch.ranks[message.record.place])
    return {vehicle_id: vendor for vehicle_id, (_, vendor) in first.items()}


def valid_items(batch: Batch, master_data: MasterData) -> Iterator[DecodedFix]:
    """Yield the items of a batch that are taken."""
    for item in _without_faults(batch, batch.items, master_data.fleet):
        if item.vendor in master_data.vendors.get(item.arrival.fix.vehicle_id, ()):
            yield item
        else:
            batch.work.letters.append(_other_vendor(item, master_data))


def valid_columns(batch: Batch, columns: FixColumns, master_data: MasterData) -> FixColumns:
    """Return those fixes of a batch's columns that are taken."""
    fleet = master_data.fleet
    rules = [
        None if municipality is None else municipality.rules
        for municipality in (
            fleet.municipalities.get(message.municipality_id) for message in columns.messages
        )
    ]
    # Of an unknown municipality everything is a suspect, and nothing is good.
    ahead_s = np.array([-np.inf if rule is None else rule.max_future_s for rule in rules])
    age_days = np.array([0.0 if rule is None else rule.max_age_days for rule in rules])
    since_us, until_us = columns.history_us()
    suspect = suspects(
        lat=columns.floats["lat"],
        lon=columns.floats["lon"],
        recorded_us=columns.recorded_us,
        received_us=columns.received_us,
        max_future_s=ahead_s[columns.message],
        max_age_days=age_days[columns.message],
        history_since_us=since_us[columns.message],
        history_until_us=until_us[columns.message],
    )
    if suspect.any():
        for index in np.flatnonzero(suspect).tolist():
            suspect[index] = not list(_without_faults(batch, [columns.item(index)], fleet))
        columns = columns.only(~suspect)
    strangers = columns.of_other_vendors(master_data.vendors)
    if strangers is not None:
        for index in np.flatnonzero(strangers).tolist():
            batch.work.letters.append(_other_vendor(columns.item(index), master_data))
        columns = columns.only(~strangers)
    return columns


def _without_faults(
    batch: Batch, items: Sequence[DecodedFix], fleet: FleetSnapshot
) -> Iterator[DecodedFix]:
    """Yield the items that are not wrong by themselves; those that are become dead letters."""
    for item in items:
        fix = item.arrival.fix
        municipality = fleet.municipalities.get(municipality_of(fix.vehicle_id))
        if municipality is None:
            batch.work.letters.append(_unknown_municipality(item, fleet))
            continue
        wrong = fault(fix, item.arrival.received_at, municipality.rules, item.history)
        if wrong is None:
            yield item
        else:
            batch.work.letters.append(fix_letter(item, *wrong))


def _unknown_municipality(item: DecodedFix, fleet: FleetSnapshot) -> DeadLetterRecord:
    municipality_id = municipality_of(item.arrival.fix.vehicle_id)
    reason = fleet.unreadable.get(municipality_id, f"no municipality {municipality_id} is entered")
    detail = f"{reason[:_REASON_LIMIT]}; enter it and replay this letter"
    return fix_letter(item, DeadLetterReason.UNKNOWN_MUNICIPALITY, detail)


def _other_vendor(item: DecodedFix, master_data: MasterData) -> DeadLetterRecord:
    vehicle_id = item.arrival.fix.vehicle_id
    municipality_id, _, local_id = vehicle_id.partition("/")
    allowed = ", ".join(master_data.vendors.get(vehicle_id, ())) or "nobody"
    return fix_letter(
        item,
        DeadLetterReason.OTHER_VENDOR,
        f"vendor {item.vendor} may not report {vehicle_id}: {allowed} may; if the municipality has "
        f"changed or added a vendor: fleetpulse vendor allow {municipality_id} {item.vendor} "
        f"{local_id}",
    )
