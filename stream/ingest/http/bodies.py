"""The body of a request, unpacked, within limits of its length and of all bodies together."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

from stream.ingest.http.refusals import RefusedError, try_again

MAX_WAITING_BODIES: Final = 16
"""So many of the longest bodies may be in memory at once, read or half read."""
_GZIP: Final = 16 + zlib.MAX_WBITS
_PLAIN: Final = frozenset({b"", b"identity"})

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Bodies:
    """Reads bodies; none is longer than `limit` bytes, as it comes and unpacked."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    @asynccontextmanager
    async def reading(
        self, headers: Mapping[bytes, bytes], receive: Receive
    ) -> AsyncIterator[bytes]:
        """Yield the body, which counts among those in memory until the context is left.

        Raises `RefusedError`: 413 for one that is too long, 415 for an encoding other than gzip,
        422 for gzip that cannot be unpacked, 429 when too many are in memory.
        """
        encoding = headers.get(b"content-encoding", b"").strip().lower()
        if encoding not in _PLAIN and encoding != b"gzip":
            raise RefusedError(
                415,
                "encoding",
                f"Content-Encoding is {encoding.decode('latin-1')[:40]!r}; send gzip, or no such "
                "header and plain JSON",
                [(b"accept-encoding", b"gzip")],
            )
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_long()
        held = 0
        try:
            parts: list[bytes] = []
            size = 0
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RefusedError(400, "broken-off", "the body broke off; send it again")
                part = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(part)
                if size > self._limit:
                    raise self._too_long()
                self._hold(len(part))
                held += len(part)
                parts.append(part)
            body = b"".join(parts)
            if encoding == b"gzip":
                body = await asyncio.to_thread(self._unpack, body)
                self._hold(len(body))
                held += len(body)
            yield body
        finally:
            self._held -= held

    def _hold(self, count: int) -> None:
        if self._held + count > MAX_WAITING_BODIES * self._limit:
            raise try_again(
                429,
                "bodies",
                f"{self._held:,} bytes of requests are waiting, limit "
                f"{MAX_WAITING_BODIES * self._limit:,}; send the same again later",
            )
        self._held += count

    def _too_long(self) -> RefusedError:
        return RefusedError(
            413,
            "too-long",
            f"the body is longer than {self._limit:,} bytes; send it in smaller parts",
        )

    def _unpack(self, body: bytes) -> bytes:
        """Return what was packed, no more of it than the limit."""
        unpacker = zlib.decompressobj(_GZIP)
        try:
            unpacked = unpacker.decompress(body, self._limit + 1)
        except zlib.error as error:
            raise self._not_gzip(str(error)) from error
        if len(unpacked) > self._limit:
            raise self._too_long()
        if not unpacker.eof:
            raise self._not_gzip("it is not complete")
        if unpacker.unused_data:
            raise self._not_gzip("something follows its first member")
        return unpacked

    @staticmethod
    def _not_gzip(why: str) -> RefusedError:
        return RefusedError(
            422, "gzip", f"the body cannot be unpacked: {why}; send gzip, or plain JSON"
        )
