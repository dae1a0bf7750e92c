"""Folds what only goes on: fixes that are newer than their vehicle's last one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from infra.kafka.client import Topics
from stream.worker.decode.batch import Batch
from stream.worker.decode.records import DecodedFix
from stream.worker.fold.cached_state import CachedState
from stream.worker.fold.encode import encode_fixes
from stream.worker.fold.late_arrivals import append_if_in_order
from stream.worker.fold.vehicle import VehicleFold
from stream.worker.master_data import MasterData


def append_columns(
    batch: Batch, states: Mapping[str, CachedState], new: Collection[str], topics: Topics
) -> None:
    """Fold all plain slices that only go on: of vehicles with a state from there, and of new."""
    columns, master_data = batch.columns, batch.master_data
    if columns is None or master_data is None:
        return
    written = np.zeros(len(columns), bool)
    quarantine: dict[int, str] = {}
    for vehicle_id, vehicle_slice in list(batch.waiting.items()):
        state = states.get(vehicle_id)
        where = vehicle_slice.plain
        if where is None or (state is None and vehicle_id not in new):
            continue
        reports = columns.reports[where].tolist()
        if state is not None and reports[0].recorded_at <= state.last_recorded_at:
            continue
        legs = None if batch.legs is None else batch.legs.part(where)
        fold = master_data.fold(vehicle_id, topics, batch.work)
        refused = fold.append(state, reports, columns.receipts(where), legs)
        if refused:
            for index, report in enumerate(reports, where.start):
                if report.recorded_at in refused:
                    quarantine[index] = refused[report.recorded_at]
        written[where] = True
        del batch.waiting[vehicle_id]
    batch.work.quarantined.update(quarantine.values())
    if written.any():
        batch.work.encoded_fixes.append(encode_fixes(columns, written, quarantine))


def append_all(
    batch: Batch,
    master_data: MasterData,
    states: Mapping[str, CachedState],
    new: Collection[str],
    topics: Topics,
) -> list[tuple[VehicleFold, list[DecodedFix]]]:
    """Fold all that only goes on; return what is late, with the fold of its vehicle."""
    append_columns(batch, states, new, topics)
    late = []
    for vehicle_id, vehicle_slice in batch.waiting.items():
        fold = master_data.fold(vehicle_id, topics, batch.work)
        items = batch.items_of(vehicle_slice)
        if not append_if_in_order(fold, states.get(vehicle_id), items):
            late.append((fold, items))
    return late
