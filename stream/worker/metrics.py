"""What a worker tells Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from threading import Lock
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from schemas.events.dead_letters import DeadLetterReason

FIXES: Final = Counter("fleetpulse_fixes", "Fixes committed")
FIXES_LATE: Final = Counter("fleetpulse_fixes_late", "Fixes that changed what was known already")
FIXES_QUARANTINED: Final = Counter(
    "fleetpulse_fixes_quarantined", "Fixes that the timeline left out when they came", ["reason"]
)
FOLDS_AGAIN: Final = Counter("fleetpulse_folds_again", "Times that a part of a timeline was folded")
FIXES_FOLDED_AGAIN: Final = Counter("fleetpulse_fixes_folded_again", "Fixes folded in those parts")
RECORDS_SKIPPED: Final = Counter(
    "fleetpulse_records_skipped", "Records delivered again and recognised by their offset"
)
RECORDS_READ_AGAIN: Final = Counter(
    "fleetpulse_records_read_again", "Records that were read again, as they had not been delivered"
)
BATCH_FAULTS: Final = Counter(
    "fleetpulse_batch_faults",
    "Batches that failed by their own fault, or over which the database ended our session",
    ["fault"],
)
CACHE_DROPS: Final = Counter("fleetpulse_cache_drops", "Times another worker was ahead of us")
DEAD_LETTERS: Final = Counter("fleetpulse_dead_letters", "Dead letters written", ["reason"])
for _reason in DeadLetterReason:  # a rise from nothing is one too, and Prometheus sees it from 0
    DEAD_LETTERS.labels(_reason)
COMMITTED: Final = Gauge(
    "fleetpulse_committed_record_timestamp_seconds",
    "Kafka's time of the last record that this worker committed",
    ["topic", "partition"],
)
BATCH_SECONDS: Final = Histogram("fleetpulse_batch_seconds", "Length of a batch's transaction")

BOUNDS_S: Final = tuple(0.005 * 1.25**step for step in range(54))
"""Upper bounds of push-to-row times: 5 ms to ten minutes, each a quarter above the last."""


class PushToRow(Collector):
    """From the gateway's receipt to the commit, per fix; counts whole batches at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, took_s: float, count: int) -> None:
        """Count `count` fixes that took this long."""
        with self._lock:
            self._counts[bisect_left(BOUNDS_S, took_s)] += count
            self._sum_s += took_s * count

    def collect(self) -> Iterable[Metric]:
        """Return the histogram in Prometheus's cumulative form."""
        with self._lock:
            counts, total_s = list(self._counts), self._sum_s
        cumulative = 0
        buckets = []
        for bound, count in zip((*BOUNDS_S, float("inf")), counts, strict=True):
            cumulative += count
            buckets.append(("+Inf" if bound == float("inf") else f"{bound:.6g}", cumulative))
        yield HistogramMetricFamily(
            "fleetpulse_push_to_row_seconds",
            "From accepted push to committed row",
            buckets=buckets,
            sum_value=total_s,
        )


_PUSH_TO_ROW: Final = PushToRow()
REGISTRY.register(_PUSH_TO_ROW)


def push_to_row(took_s: float, count: int) -> None:
    """Count fixes that took this long from push to row."""
    _PUSH_TO_ROW.observe(max(took_s, 0.0), count)
