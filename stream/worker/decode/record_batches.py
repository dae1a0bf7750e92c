"""Record batches as Kafka sends them, read whatever the names of their headers are.

Kafka keeps any bytes as the name of a header. aiokafka decodes it as UTF-8 and raises where it is
not: then nobody reads the partition on. We use no headers, so that a name may be read wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


class _LenientBytes(bytearray):
    """Bytes that decode whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _LenientBytes(part) if isinstance(index, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        """Return text; what is none is replaced."""
        return super().decode(encoding, "replace" if errors == "strict" else errors)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc] # final in aiokafka 0.12 on
    """A batch whose headers may have any names; some ten times as slow."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _LenientBytes(self._buffer)


class _Batch:
    """A batch that is read the quick way, and leniently where that fails."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            return iter(list(_LenientBatch(self._data)))

    def __next__(self) -> Any:
        return next(self._batch)


class TolerantRecords(_MemoryRecordsPy):  # type: ignore[misc] # final in aiokafka 0.12 on
    """The batches of one answer of the broker."""

    def next_batch(self) -> Any:
        """Return the next batch, or None after the last one."""
        data = self._next_slice
        batch = super().next_batch()
        return None if batch is None or data is None else _Batch(batch, data)


def install() -> None:
    """Have all consumers of this process read batches like that: aiokafka offers no other way."""
    fetcher.MemoryRecords = TolerantRecords
