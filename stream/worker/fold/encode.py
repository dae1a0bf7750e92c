"""Plain fixes as rows of `fix` in PostgreSQL's binary COPY format."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from infra.database.connection.binary_copy import boolean, encode, float8, text, timestamptz
from infra.database.timeline.tables import FIX
from stream.worker.decode.columnar import FixColumns, Mask


def encode_fixes(columns: FixColumns, which: Mask, quarantine: Mapping[int, str]) -> bytes:
    """Return rows of `fix` in binary, in the order of its columns."""
    reasons = np.zeros(len(columns), f"S{max(map(len, quarantine.values()), default=1)}")
    for index, reason in quarantine.items():
        reasons[index] = reason.encode()
    ids = np.array([vehicle_id.encode() for vehicle_id in columns.vehicle_ids])
    vendors = np.array([message.vendor.encode() for message in columns.messages])
    if columns.sender is None:
        trackers = np.zeros(len(columns), "S1")
    else:
        trackers = np.where(columns.sender == columns.vehicle, b"", ids[columns.sender])
    encoded = {
        "vehicle_id": text(ids[columns.vehicle[which]]),
        "recorded_at": timestamptz(columns.recorded_us[which]),
        "received_at": timestamptz(columns.received_us[which]),
        **{name: float8(values[which]) for name, values in columns.floats.items()},
        **{name: boolean(values[which]) for name, values in columns.flags.items()},
        "quarantine": text(reasons[which]),
        "tracker_id": text(trackers[which]),
        "vendor": text(vendors[columns.message[which]]),
    }
    return encode([encoded[name] for name in FIX.columns])
