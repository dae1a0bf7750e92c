"""Laws 1 to 3 under clocks that jump: those of the trackers, and our own.

A tracker's clock is off by minutes, hours or a year for some of its fixes; an upload is received
by a gateway whose own clock is off as well. Which fixes are accepted is a matter of both, and of
the range of history that may be declared: the rows are a function of those, and of the others each
is a dead letter.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.timeline.validation import Arrival, precedence
from schemas.events.history import HistoryRange
from schemas.fleet.rules import Rules
from tests.property.accounts import accounted_for
from tests.property.examples import examples
from tests.property.test_writer_laws import consume, equals_reference, journeys, prepared
from tests.stream_harness import Log, derived, empty, fetch, message, open_pool

_MOMENTS = (0, 0, 0, 1, -1, 90, -90, 2_700, -2_700)
_DAYS = (3_600, -3_600, 80_000, -93_600, 40 * 86_400, -40 * 86_400, -400 * 86_400)
_RECEIPTS = (0, 0, 5, -7_200, 90_000, -90_000, 40 * 86_400, -40 * 86_400, 400 * 86_400)
_LIMIT = timedelta(seconds=Rules().max_future_s)
_OLDEST = timedelta(days=Rules().max_age_days)
_LAST_WINTER = HistoryRange(datetime(2024, 12, 1, tzinfo=UTC), datetime(2025, 2, 28, tzinfo=UTC))


class Uploads(NamedTuple):
    """Everything that arrives, in the order of its arrival."""

    arrivals: list[Arrival]
    history: HistoryRange | None

    def accepted(self) -> list[Arrival]:
        """Return what is neither too far ahead of its receipt nor too old, unless as history."""
        return [
            arrival
            for arrival in self.arrivals
            if arrival.fix.recorded_at - arrival.received_at <= _LIMIT
            and (
                arrival.received_at - arrival.fix.recorded_at <= _OLDEST
                or (self.history is not None and self.history.holds(arrival.fix.recorded_at))
            )
        ]

    def log(self, arrivals: list[Arrival], partitions: list[int]) -> Log:
        """Return messages of neighbours with one receipt, on these partitions in turn."""
        log = Log()
        runs = groupby(arrivals, key=lambda arrival: arrival.received_at)
        for number, (received_at, run) in enumerate(runs):
            value = message(
                [entry.fix for entry in run], received_at=received_at, history=self.history
            )
            log.append(value, partition=partitions[number % len(partitions)])
        return log


@st.composite
def uploads(draw: st.DrawFn) -> Uploads:
    """Return two vehicles' fixes with clocks that jump, some of them twice, in any order."""
    arrivals: list[Arrival] = []
    device_s = receipt_s = 0
    for fix in draw(journeys()):
        if draw(st.integers(0, 3)) == 0:  # the clock is set, and stays like that for a while
            device_s = draw(st.sampled_from((*_MOMENTS, *_MOMENTS, *_DAYS)))
        if draw(st.integers(0, 3)) == 0:
            receipt_s = draw(st.sampled_from(_RECEIPTS))
        moved = fix.model_copy(
            update={"recorded_at": fix.recorded_at + timedelta(seconds=device_s)}
        )
        # Some minutes and hours after it truly was: receipts of neighbours are often one.
        hour = fix.recorded_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        arrivals.append(Arrival(moved, hour + timedelta(seconds=receipt_s)))
    for again in draw(st.lists(st.sampled_from(arrivals), max_size=4)):
        later = timedelta(seconds=draw(st.sampled_from(_RECEIPTS)))
        arrivals.append(Arrival(again.fix, again.received_at + later))
    history = draw(st.sampled_from((None, _LAST_WINTER)))
    return Uploads(draw(st.permutations(arrivals)), history)


def in_order(accepted: list[Arrival]) -> list[Arrival]:
    """Return one arrival for each vehicle and instant, by device time: the plainest delivery."""
    best: dict[tuple[str, object], Arrival] = {}
    for arrival in accepted:
        place = (arrival.fix.vehicle_id, arrival.fix.recorded_at)
        rank = (precedence(arrival.fix), arrival.received_at)
        other = best.get(place)
        if other is None or rank < (precedence(other.fix), other.received_at):
            best[place] = arrival
    return [best[place] for place in sorted(best, key=str)]


def test_rows_depend_on_the_accepted_fixes_however_clocks_jump(database_url: str) -> None:
    prepared(database_url)

    @settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        arriving=uploads(),
        partitions=st.lists(st.integers(0, 2), min_size=1, max_size=5),
        batch=st.integers(1, 5),
    )
    def law(arriving: Uploads, partitions: list[int], batch: int) -> None:
        accepted = arriving.accepted()

        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                if accepted:
                    await consume(pool, arriving.log(in_order(accepted), [0]), batch=100)
                expected = await derived(pool)
                await empty(pool)
                await consume(pool, arriving.log(arriving.arrivals, partitions), batch)
                assert await derived(pool) == expected
                await equals_reference(pool, [arrival.fix for arrival in accepted])
                await accounted_for(pool)
                # Law 3: what no row tells of is a dead letter, with a reason.
                letters = "SELECT count(*) FROM dead_letter WHERE reason <> 'conflicting-fix'"
                refused = len(arriving.arrivals) - len(accepted)
                assert await fetch(pool, letters) == [(refused,)]

        asyncio.run(main())

    law()
