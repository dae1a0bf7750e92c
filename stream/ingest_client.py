"""Pushing fixes as a vendor does: `POST /v1/events` with a key, in batches, again when told to.

The simulator and the replay use it, so that what they send takes the way that a vendor's takes.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import orjson
import stamina

from schemas.errors import FleetpulseError, OutageError, UserError
from schemas.events.history import HEADER, HistoryRange
from stream.ingest.http.requests import MAX_EVENTS

DEFAULT_BATCH: Final = 500
DEFAULT_LANES: Final = 4
GIVE_UP_AFTER_S: Final = 30.0
"""How long a command waits for a gateway: who looks on wants to know."""
SHOWN_REASONS: Final = 10
_SHOWN_BODY: Final = 300
_WAITING_BATCHES: Final = 2
_REFUSED: Final = frozenset({401, 403})
_TOO_LARGE: Final = 413
_UNREADABLE: Final = 422
_ANSWERED: Final = frozenset({202, _UNREADABLE})
# Our gateway says 429 and 503; a proxy before it that does not reach it says 502 and 504.
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
_LOST: Final = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError)

Item = TypeVar("Item")
Event = Mapping[str, Any]
PushCallback = Callable[[int], None]


@dataclass(slots=True)
class PushResult:
    """What became of pushed events: a sum that can grow."""

    accepted: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    """Why events were rejected: the first ten, each with the event's index in the push."""

    def add(self, other: PushResult) -> None:
        """Count another push in."""
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.reasons += other.reasons[: SHOWN_REASONS - len(self.reasons)]


class PushFailedError(FleetpulseError):
    """The gateway did not take all that we sent; `result` is what it had answered until then."""

    def __init__(self, why: str, result: PushResult) -> None:
        super().__init__(
            f"{why}\nUntil then {result.accepted:,} events were accepted and {result.rejected:,} "
            "rejected; pushing all of them again does no harm"
        )
        self.why = why
        self.result = result


class KeyRefusedError(PushFailedError, UserError):
    """The key is unknown or revoked (401, 403)."""

    exit_code = 1


class TooLargeError(PushFailedError, UserError):
    """The request is longer than the gateway allows (413)."""

    exit_code = 1


class GatewayAwayError(PushFailedError, OutageError):
    """The gateway did not answer, or asked us to wait, for longer than we do."""


class ForeignAnswerError(PushFailedError, UserError):
    """What answers at the address, if anything does, is no gateway of ours."""

    exit_code = 1


class _TryAgainError(OutageError):
    """Worth another attempt: a lost connection, or an answer that asks for one."""


@dataclass(slots=True)
class _Batch:
    """Events of one lane, and where they stand in the whole push."""

    indices: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class _Tally:
    """The sum of the answers so far; keeps the reasons of the lowest indices."""

    def __init__(self, progress: PushCallback | None) -> None:
        self._progress = progress
        self._accepted = 0
        self._rejected = 0
        self._reasons: list[tuple[int, str]] = []

    @property
    def result(self) -> PushResult:
        """The sum."""
        return PushResult(self._accepted, self._rejected, [reason for _, reason in self._reasons])

    def add(self, answer: Mapping[str, Any], batch: _Batch) -> None:
        """Count the answer to a batch."""
        faults = answer["rejected"]
        self._accepted += answer["accepted"]
        self._rejected += len(batch.events) - answer["accepted"]  # not every fault is told
        for fault in faults[:SHOWN_REASONS]:
            index = batch.indices[fault["index"]]
            place = f"event {index}" + (f", {fault['field']}" if fault["field"] else "")
            self._reasons.append((index, f"{place}: {fault['reason']}"))
        self._reasons = sorted(self._reasons)[:SHOWN_REASONS]
        if self._progress is not None:
            self._progress(len(batch.events))


class VendorClient:
    """Pushes native events for the holder of one key; use with `async with`.

    Events go in `lanes` parallel requests of at most `batch_events`. All events of one vehicle
    take the same lane, one request after another, so that their order holds. At most
    `lanes * (2 + 2)` batches are in memory. A lost connection, a timeout, 429, 502, 503 and 504
    are tried again with growing waits, never sooner than `Retry-After` says, for
    `give_up_after_s` seconds a request; sending an event twice does no harm.

    Raises `ValueError` for a URL without http, and for a batch or a number of lanes out of range.
    """

    def __init__(  # noqa: PLR0913 - each is an option of the commands
        self,
        url: str,
        key: str,
        *,
        lanes: int = DEFAULT_LANES,
        batch_events: int = DEFAULT_BATCH,
        timeout_s: float = 30.0,
        give_up_after_s: float = 120.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"url is {url!r}; it must begin with http:// or https://")
        if not 1 <= batch_events <= MAX_EVENTS:
            raise UserError(
                f"batch_events is {batch_events}; the gateway takes 1 to {MAX_EVENTS} in a request"
            )
        if lanes < 1:
            raise UserError(f"lanes is {lanes}; at least 1 is needed")
        self._url = url.rstrip("/") + "/v1/events"
        self._batch_events = batch_events
        self._lanes = lanes
        self._give_up_after_s = give_up_after_s
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=lanes, max_keepalive_connections=lanes),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def push(
        self,
        events: Iterable[Event],
        *,
        progress: PushCallback | None = None,
        first_index: int = 0,
        history: HistoryRange | None = None,
    ) -> PushResult:
        """Push events in the order given, each vehicle's in its lane; return what became of them.

        Reads the events as it sends them, so that a long iterable is never all in memory.
        `progress` is called after each answer with the number of events in its request.
        `first_index` is what the first event counts as in the reasons, for events that are pushed
        in portions. `history` is the range that they are declared to be history of, if any; the key
        has to allow it.

        Raises `PushFailedError` when the gateway refuses the key or a request, or stays away, and
        whatever reading the events raises.
        """
        tally = _Tally(progress)
        headers = {} if history is None else {HEADER: str(history)}
        queues: list[asyncio.Queue[_Batch | None]] = [
            asyncio.Queue(_WAITING_BATCHES) for _ in range(self._lanes)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for queue in queues:
                    group.create_task(self._drain(queue, headers, tally))
                await self._distribute(enumerate(events, first_index), queues)
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return tally.result

    async def _distribute(
        self,
        events: Iterable[tuple[int, Event]],
        queues: Sequence[asyncio.Queue[_Batch | None]],
    ) -> None:
        filling = [_Batch() for _ in queues]
        for index, event in events:
            lane = zlib.crc32(str(event.get("vehicle_id")).encode()) % len(queues)
            batch = filling[lane]
            batch.indices.append(index)
            batch.events.append(event)
            if len(batch.events) >= self._batch_events:
                filling[lane] = _Batch()
                await queues[lane].put(batch)
                await asyncio.sleep(0)  # a put into a queue with room lets no lane run
        for queue, rest in zip(queues, filling, strict=True):
            if rest.events:
                await queue.put(rest)
            await queue.put(None)

    async def _drain(
        self, queue: asyncio.Queue[_Batch | None], headers: Mapping[str, str], tally: _Tally
    ) -> None:
        while (batch := await queue.get()) is not None:
            tally.add(await self._send(batch, headers, tally), batch)

    async def _send(
        self, batch: _Batch, headers: Mapping[str, str], tally: _Tally
    ) -> Mapping[str, Any]:
        """Return the gateway's answer, tried again where that is worth it."""
        body = orjson.dumps(batch.events)
        deadline = time.monotonic() + self._give_up_after_s
        try:
            async for attempt in stamina.retry_context(
                on=_TryAgainError,
                attempts=None,
                timeout=self._give_up_after_s,
                wait_initial=0.1,
                wait_max=5.0,
                wait_jitter=0.5,
            ):
                with attempt:
                    response = await self._post(body, headers, deadline, tally)
                    return self._answer(response, len(batch.events), tally)
        except _TryAgainError as last:
            raise GatewayAwayError(
                f"{self._url} took nothing for {self._give_up_after_s:g} s: {last}; see whether "
                "`fleetpulse ingest` runs there and is ready (GET /readyz)",
                tally.result,
            ) from last
        raise AssertionError("a retry either returns or raises")

    async def _post(
        self, body: bytes, headers: Mapping[str, str], deadline: float, tally: _Tally
    ) -> httpx.Response:
        try:
            response = await self._http.post(self._url, content=body, headers=headers)
        except _LOST as lost:
            raise _TryAgainError(repr(lost)) from lost
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ForeignAnswerError(
                f"{self._url} cannot be asked: {error!r}", tally.result
            ) from error
        if response.status_code in _TRY_AGAIN:
            wait_s = _retry_after_s(response)
            if time.monotonic() + wait_s > deadline:
                raise GatewayAwayError(
                    f"{self._url} asks to wait {wait_s:g} s, longer than the "
                    f"{self._give_up_after_s:g} s that we try: {_shown(response)}",
                    tally.result,
                )
            await asyncio.sleep(wait_s)
            raise _TryAgainError(_shown(response))
        return response

    def _answer(self, response: httpx.Response, sent: int, tally: _Tally) -> Mapping[str, Any]:
        status, shown = response.status_code, _shown(response)
        if status in _REFUSED:
            raise KeyRefusedError(
                f"the gateway refuses the key: {shown}; make one with `fleetpulse key create`",
                tally.result,
            )
        if status == _TOO_LARGE:
            raise TooLargeError(
                f"{sent} events are too large at once: {shown}; push a smaller batch",
                tally.result,
            )
        answer = _json(response) if status in _ANSWERED else None
        if not isinstance(answer, dict) or not {"accepted", "rejected"} <= answer.keys():
            why = "cannot read the request" if status == _UNREADABLE else "gave no answer of ours"
            raise ForeignAnswerError(
                f"{self._url} {why}: {shown}; is this the address of our gateway?", tally.result
            )
        return answer


def _json(response: httpx.Response) -> Any:
    """Return the body, or None where it is no JSON."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None


def _shown(response: httpx.Response) -> str:
    """Return the status and the server's own words."""
    body = _json(response)
    words = str(body["detail"]) if isinstance(body, dict) and "detail" in body else response.text
    return f"{response.status_code} {words[:_SHOWN_BODY]}"


def _retry_after_s(response: httpx.Response) -> float:
    """Return how long the gateway asks to wait: seconds or an HTTP date (RFC 9110, 10.2.3).

    Without the header, or with one that is neither, our own growing waits apply.
    """
    value = response.headers.get("Retry-After", "0").strip()
    if value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (at.astimezone(UTC) - datetime.now(UTC)).total_seconds())


async def paced(
    items: Iterable[Item],
    recorded_at: Callable[[Item], datetime],
    *,
    speed: float,
    size: int,
) -> AsyncIterator[list[Item]]:
    """Yield items, which are in order of device time, in portions of at most `size`.

    `speed` is the multiple of real time: each portion comes when the device's clock, started with
    the first item and running so many times faster than ours, has reached it. At speed 0 portions
    come as fast as they are taken. Raises `ValueError` for a negative speed.
    """
    if speed < 0:
        raise ValueError(f"speed is {speed}; it is a multiple of real time, or 0 for full speed")
    portion: list[Item] = []
    began = time.monotonic()
    first: datetime | None = None
    for item in items:
        if speed:
            at = recorded_at(item)
            first = first or at
            due = began + (at - first).total_seconds() / speed
            if due > time.monotonic():
                if portion:
                    yield portion
                    portion = []
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        portion.append(item)
        if len(portion) >= size:
            yield portion
            portion = []
    if portion:
        yield portion
