"""Time from push to row, read off the workers' own histograms."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_NAME: Final = "fleetpulse_push_to_row_seconds"

Buckets = Mapping[float, float]
"""Upper bound in seconds to the number of fixes that took at most as long."""


def read(worker_urls: Iterable[str]) -> Buckets:
    """Return the histograms of all workers, added up. Raises `OSError` when one is gone."""
    counts: defaultdict[float, float] = defaultdict(float)
    for url in worker_urls:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310 - loopback
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            if family.name == _NAME:
                for sample in family.samples:
                    if sample.name.endswith("_bucket"):
                        counts[float(sample.labels["le"])] += sample.value
    return counts


def quantile(buckets: Buckets, share: float, *, since: Buckets | None = None) -> float | None:
    """Return the upper bound in seconds below which a share of the fixes was committed.

    Buckets are a quarter apart, so that the answer is at most a quarter too high. `since` takes
    an earlier reading off. None when nothing was counted.
    """
    earlier = since or {}
    counts = {bound: count - earlier.get(bound, 0.0) for bound, count in sorted(buckets.items())}
    total = max(counts.values(), default=0.0)
    if total <= 0:
        return None
    return next(bound for bound, count in counts.items() if count >= share * total)
