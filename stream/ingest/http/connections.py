"""Connections of vendors: what each may take of time, and how many there may be.

uvicorn ends a connection that is silent after an answer. It does not end one that never sends a
request, sends its head or body a byte at a time, or sends a head without end. Here it does.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from stream.ingest.metrics import CONNECTIONS_CLOSED

HEAD_LIMIT_S: Final = 10.0
"""From a connection, or from the first byte of a request, to the end of its headers."""
BODY_LIMIT_S: Final = 30.0
"""From the end of the headers to the end of the body."""
IDLE_LIMIT_S: Final = 60.0
"""From an answer to the next request."""
MAX_HEAD_BYTES: Final = 32_768
POLL_INTERVAL_S: Final = 1.0
TIMEOUT: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-length: 0\r\n\r\n"
)
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-length: 0\r\n\r\n"
)


class VendorConnection(HttpToolsProtocol):
    """uvicorn's connection, with a due time for whatever the client has to send next."""

    max_connections: ClassVar[int]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes: int | None = 0
        """Of the head that is being received, None while there is none."""
        self._completed = False
        """Whether a request has come to its end in what was received last."""
        self._due: float | None = None
        """When the client must have sent what it sends now; None while it waits for us."""
        self.idle_since: float | None = None
        """Since when no request is under way; None while one is."""
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, in place of the one idle for longest."""
        super().connection_made(transport)
        self._due = time.monotonic() + HEAD_LIMIT_S
        self.idle_since = time.monotonic()
        self._look = self.loop.call_later(POLL_INTERVAL_S, self._look_at_time)
        if len(self.connections) > self.max_connections:
            self._make_room()

    def _make_room(self) -> None:
        idle = [
            other
            for other in self.connections
            if isinstance(other, VendorConnection)
            and other is not self
            and other.idle_since is not None
        ]
        if idle:
            longest = min(idle, key=lambda other: other.idle_since or 0.0)
            longest.end("too-many", b"")
        else:
            self.end("too-many", _FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; refuse a head that has no end."""
        self._completed = False
        super().data_received(data)
        if self._head_bytes is not None and not self._completed:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.end("head-too-long", _TOO_LARGE)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._due = time.monotonic() + HEAD_LIMIT_S

    def on_headers_complete(self) -> None:
        """Note that its head is here."""
        self._head_bytes = self.idle_since = None
        self._due = time.monotonic() + BODY_LIMIT_S
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that it is here as a whole."""
        self._head_bytes, self._completed = 0, True
        # Where the answer is out already, the next request is what we wait for.
        answered = self.cycle.response_complete
        self._due = time.monotonic() + IDLE_LIMIT_S if answered else None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that the client has to send again."""
        self.idle_since = time.monotonic()
        if self._due is None:
            self._due = self.idle_since + IDLE_LIMIT_S
        super().on_response_complete()

    def _look_at_time(self) -> None:
        if self._due is not None and time.monotonic() > self._due:
            self.end("too-slow", TIMEOUT if self._head_bytes != 0 else b"")
        else:
            self._look = self.loop.call_later(POLL_INTERVAL_S, self._look_at_time)

    def end(self, reason: str, words: bytes) -> None:
        """Close the connection, with an answer unless one is under way."""
        if self.transport.is_closing():
            return
        CONNECTIONS_CLOSED.labels(reason).inc()
        if words and not self._is_answering():
            self.transport.write(words)
        self.transport.close()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation leaves None out
        return cycle is not None and cycle.response_started and not cycle.response_complete


def connections(most: int) -> type[VendorConnection]:
    """Return the connections of a server that holds so many at most."""
    return type("VendorConnection", (VendorConnection,), {"max_connections": most})
