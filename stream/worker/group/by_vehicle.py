"""Which vehicle each fix is of: its sender, or the vehicle that its tracker was in."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from operator import add

import numpy as np

from infra.database.fleet.master_data import FleetSnapshot
from processors.timeline.bulk_fold import LegColumns, measure
from schemas.ids import municipality_of
from stream.worker.decode.batch import Batch, VehicleSlice
from stream.worker.decode.columnar import FixColumns, Mask
from stream.worker.decode.records import DecodedFix, fix_letter
from stream.worker.group.validate import valid_columns, valid_items
from stream.worker.master_data import MasterData


def group_by_vehicle(batch: Batch, master_data: MasterData) -> None:
    """Give each vehicle the fixes that are taken; the others become dead letters."""
    batch.master_data = master_data
    items: defaultdict[str, list[DecodedFix]] = defaultdict(list)
    for item in valid_items(batch, master_data):
        fix = item.arrival.fix
        tracker = master_data.trackers.get(fix.vehicle_id)
        vehicle_id = fix.vehicle_id if tracker is None else tracker.vehicle_at(fix.recorded_at)
        if vehicle_id is None:
            _of_no_vehicle(batch, item, master_data)
        else:
            items[vehicle_id].append(item)
    batch.waiting = {vehicle_id: VehicleSlice(items=of_it) for vehicle_id, of_it in items.items()}
    if batch.columns is not None:
        columns = valid_columns(batch, batch.columns, master_data)
        columns = _carried(batch, columns, master_data)
        batch.columns = columns if len(columns) else None
        if batch.columns is not None:
            _group_columns(batch, columns, master_data)


def _group_columns(batch: Batch, columns: FixColumns, master_data: MasterData) -> None:
    """Sort columns by vehicle and time; what needs a second look becomes items."""
    order = np.lexsort((columns.recorded_us, columns.vehicle))
    batch.columns = columns = columns.only(order)
    begins = np.diff(columns.vehicle, prepend=-1) != 0
    starts = np.flatnonzero(begins)
    twice = np.flatnonzero((np.diff(columns.vehicle) == 0) & (np.diff(columns.recorded_us) == 0))
    contested = set(columns.vehicle[twice].tolist())
    ends = [*starts[1:].tolist(), len(columns)]
    codes = columns.vehicle[starts].tolist()
    batch.legs = _measured(columns, begins, master_data.fleet)
    for code, start, end in zip(codes, starts.tolist(), ends, strict=True):
        vehicle_id = columns.vehicle_ids[code]
        vehicle_slice = VehicleSlice(slice(start, end))
        other = batch.waiting.get(vehicle_id)
        if other is not None or code in contested:
            items = batch.items_of(vehicle_slice)
            vehicle_slice.items = batch.in_order([*items, *(other.items if other else ())])
        batch.waiting[vehicle_id] = vehicle_slice


def _carried(batch: Batch, columns: FixColumns, master_data: MasterData) -> FixColumns:
    """Return fixes by the vehicle that their tracker was in, without those of none."""
    if not master_data.trackers:
        return columns
    columns, of_none = columns.carried(master_data.trackers)
    if of_none is not None and of_none.any():
        for index in np.flatnonzero(of_none).tolist():
            _of_no_vehicle(batch, columns.item(index), master_data)
        columns = columns.only(~of_none)
    return columns


def _of_no_vehicle(batch: Batch, item: DecodedFix, master_data: MasterData) -> None:
    fix = item.arrival.fix
    wrong = master_data.trackers[fix.vehicle_id].unassigned(fix.recorded_at)
    batch.work.letters.append(fix_letter(item, *wrong))
    batch.of_no_vehicle = True


def _measured(columns: FixColumns, begins: Mask, fleet: FleetSnapshot) -> LegColumns:
    """Return what lies before each fix, by the rules of its municipality."""
    owners = [municipality_of(vehicle_id) for vehicle_id in columns.vehicle_ids]
    names = {name: number for number, name in enumerate(dict.fromkeys(owners))}
    # Vehicles are in order of id, so that those of a municipality stand together.
    municipality = np.array([names[name] for name in owners])[columns.vehicle]
    cuts = [*np.flatnonzero(np.diff(municipality, prepend=-1)).tolist(), len(columns)]
    legs = LegColumns([], [], [], [], [], [])
    for start, end in pairwise(cuts):
        part = slice(start, end)
        rules = fleet.municipalities[owners[columns.vehicle[start]]].rules
        of_part = measure(
            lat=columns.floats["lat"][part],
            lon=columns.floats["lon"][part],
            recorded_us=columns.recorded_us[part],
            speed_mps=columns.floats["speed_mps"][part],
            ignition=columns.flags["ignition"][part],
            begins=begins[part],
            rules=rules,
        )
        legs = LegColumns(*map(add, legs, of_part))
    return legs
