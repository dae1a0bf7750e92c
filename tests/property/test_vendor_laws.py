"""Law 2 on two vendors that a municipality allows for one vehicle, whatever each of them says.

They send the same, or contradict each other and themselves, at the same instants; which of it
comes first, in which message and in which batch, is anybody's guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.database.connection.pool import Pool
from infra.database.fleet import vendors as store
from schemas.events.fix import Fix
from stream.worker.refold.recompute import recompute
from stream.worker.write.writer import Writer
from tests.property.accounts import accounted_for
from tests.property.examples import examples
from tests.property.test_writer_laws import prepared
from tests.stream_harness import RECEIVED_AT, TOPICS, Log, derived, empty, message, open_pool

_CAR: Final = "syddjurs/a"
_START: Final = RECEIVED_AT - timedelta(days=2)
_VENDORS: Final = ("second", "first")  # in the order of the alphabet it would be the other way

Sent = tuple[str, int, Fix]
"""A fix, who sent it, and seconds from the first receipt to its own."""


@st.composite
def sent(draw: st.DrawFn) -> list[Sent]:
    """Return what two vendors send of few instants, so that they meet at nearly each."""
    everything = []
    for _ in range(draw(st.integers(2, 14))):
        minute = draw(st.integers(0, 3))
        lat = draw(st.sampled_from((56.3, 56.3, 56.31, None)))
        fix = Fix(
            vehicle_id=_CAR,
            recorded_at=_START + timedelta(minutes=10 * minute),
            lat=lat,
            lon=None if lat is None else 10.4,
            private_mode=lat is None,
            ignition=draw(st.sampled_from((None, True))),
        )
        everything.append((draw(st.sampled_from(_VENDORS)), draw(st.integers(0, 3)), fix))
    return everything


async def write(pool: Pool, everything: Sequence[Sent], sizes: Sequence[int], batch: int) -> None:
    """Have a worker take them in this order, in messages and batches of these sizes."""
    log, waiting, turn = Log(), list(everything), 0
    while waiting:
        vendor, receipt_s, _ = waiting[0]
        same = 0
        while same < len(waiting) and waiting[same][:2] == (vendor, receipt_s):
            same += 1
        size = min(same, sizes[turn % len(sizes)])
        turn += 1
        portion, waiting = waiting[:size], waiting[size:]
        received_at = RECEIVED_AT + timedelta(seconds=receipt_s)
        fixes = [fix for _, _, fix in portion]
        log.append(message(fixes, vendor=vendor, received_at=received_at))
    writer = Writer(pool, TOPICS)
    records = log.since(await log.assign(writer))
    for start in range(0, len(records), batch):
        await writer.write(records[start : start + batch])


def test_what_two_vendors_send_gives_the_same_in_any_order(database_url: str) -> None:
    prepared(database_url)

    async def allow(pool: Pool) -> None:
        async with pool.connection() as connection:
            for vendor in _VENDORS:
                await store.allow_vendor(connection, vendor, [_CAR], allowed_by="me")

    async def once() -> None:
        async with open_pool(database_url) as pool:
            await allow(pool)

    asyncio.run(once())

    @settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        everything=sent(),
        data=st.data(),
        sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
        batch=st.integers(1, 6),
    )
    def law(everything: list[Sent], data: st.DataObject, sizes: list[int], batch: int) -> None:
        shuffled = data.draw(st.permutations(everything))

        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                in_order = sorted(everything, key=lambda entry: (entry[2].recorded_at, entry[:2]))
                await write(pool, in_order, [1], 100)
                expected = await derived(pool)
                await empty(pool)
                await write(pool, shuffled, sizes, batch)
                assert await derived(pool) == expected
                await accounted_for(pool)
                async for _ in recompute(pool, TOPICS, "syddjurs"):
                    pass
                assert await derived(pool) == expected

        asyncio.run(main())

    law()
