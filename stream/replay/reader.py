"""Recorded fixes from CSV, Parquet and JSON lines, as events of the native format.

Rows of one vehicle and instant become one event: of each field the last known value counts, of
position both coordinates together, and of the ignition what the last row says that says anything.
Such rows need not be neighbours, but no more than `WINDOW_EVENTS` other instants may lie between
them; beyond that they become events of their own, and the stream's rule for two fixes of one
instant decides. What then lacks vehicle, time or position is left out and counted.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from stream.replay.mapping import (
    SWITCHES,
    UNITS,
    FieldMapping,
    MappingError,
    ReplayError,
    check_vehicle_id,
)

EventFields = dict[str, Any]
FileRow = Mapping[str, Any]
_Place = tuple[str, datetime]
_Convert = Callable[[Any], Any]

WINDOW_EVENTS: Final = 20_000
"""Most events that wait for further rows of their instant."""
NO_VEHICLE: Final = "no vehicle id"
NO_TIME: Final = "no time"
NO_POSITION: Final = "no position"

_NULLS: Final = ["", "null", "NULL", "NA", r"\N"]
_TRUE: Final = frozenset({"true", "1", "on", "yes"})
_FALSE: Final = frozenset({"false", "0", "off", "no"})
_JSON_SUFFIXES: Final = frozenset({".jsonl", ".ndjson", ".json"})
_PEEKED_LINES: Final = 1_000


@dataclass(slots=True)
class ReadCounts:
    """How far files have been read: a running count."""

    rows: int = 0
    events: int = 0
    merged: int = 0
    """Rows that went into the event of another row."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows left out, by reason."""
    bytes_read: int = 0
    bytes_total: int = 0


@dataclass(slots=True)
class _Waiting:
    """An event that may still gain from further rows."""

    event: EventFields
    rows: int = 1


def read_events(
    paths: Iterable[Path], mapping: FieldMapping, counts: ReadCounts | None = None
) -> Iterator[EventFields]:
    """Yield the native events of files, in the order of their first rows.

    `recorded_at` is an aware UTC instant, all else as the native format has it. Raises
    `ReplayError` for a file that cannot be read, lacks a mapped column or has a value that is not
    what the mapping says.
    """
    counts = ReadCounts() if counts is None else counts
    waiting: dict[_Place, _Waiting] = {}
    for event in _rows_as_events(paths, mapping, counts):
        place = event["vehicle_id"], event["recorded_at"]
        earlier = waiting.get(place)
        if earlier is not None:
            earlier.event.update(event)
            earlier.rows += 1
            continue
        waiting[place] = _Waiting(event)
        if len(waiting) > WINDOW_EVENTS:
            yield from _completed(waiting.pop(next(iter(waiting))), counts)
    for oldest in waiting.values():
        yield from _completed(oldest, counts)


def _completed(waiting: _Waiting, counts: ReadCounts) -> Iterator[EventFields]:
    if "lat" not in waiting.event:
        counts.skipped[NO_POSITION] += waiting.rows
        return
    counts.events += 1
    counts.merged += waiting.rows - 1
    yield waiting.event


def _rows_as_events(
    paths: Iterable[Path], mapping: FieldMapping, counts: ReadCounts
) -> Iterator[EventFields]:
    """Yield what each row says, where it says whose it is and when; positions may be missing."""
    before = 0
    for path in paths:
        try:
            for number, row in enumerate(_rows(path, mapping, counts, before), start=1):
                counts.rows += 1
                event = _event(path, number, row, mapping)
                if "vehicle_id" not in event:
                    counts.skipped[NO_VEHICLE] += 1
                elif "recorded_at" not in event:
                    counts.skipped[NO_TIME] += 1
                else:
                    yield event
            before += path.stat().st_size
        except (OSError, EOFError, UnicodeDecodeError, pa.ArrowException) as error:
            raise ReplayError(f"{path} cannot be read: {error}") from error
        counts.bytes_read = before


def _rows(path: Path, mapping: FieldMapping, counts: ReadCounts, before: int) -> Iterator[FileRow]:
    """Yield the rows of a file; `before` is the size of those read before it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    kind = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    if kind == ".parquet" and not zipped:
        for done, row in _parquet_rows(path, mapping):
            counts.bytes_read = before + done
            yield row
        return
    if kind != ".csv" and kind not in _JSON_SUFFIXES:
        raise ReplayError(
            f"{path} is of no kind that we read; name it .csv or .jsonl, also with .gz behind, or "
            ".parquet (which is compressed within)"
        )
    with path.open("rb") as raw:
        # GzipFile is a binary stream in all but its declared type.
        stream: io.BufferedReader[Any] = (
            io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw
        )
        rows = _csv_rows if kind == ".csv" else _json_rows
        for row in rows(path, stream, mapping):
            counts.bytes_read = before + raw.tell()
            yield row


def _parquet_rows(path: Path, mapping: FieldMapping) -> Iterator[tuple[int, FileRow]]:
    """Yield rows, and with each how many bytes of the file were read for it, estimated."""
    with pa.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        _check_columns(path, names, mapping)
        size, total, done = path.stat().st_size, max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(columns=[name for name in mapping.wanted if name in names]):
            done += batch.num_rows
            for row in _in_microseconds(batch).to_pylist():
                yield size * done // total, row


def _in_microseconds(batch: Any) -> Any:
    """Return a batch whose instants fit a `datetime`: the rest of a nanosecond is cut off."""
    columns = [
        column.cast(pa.timestamp("us", column.type.tz), safe=False)
        if pa.types.is_timestamp(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _csv_rows(
    path: Path, stream: io.BufferedReader[Any], mapping: FieldMapping
) -> Iterator[FileRow]:
    """Yield rows with every value as it stands in the file: no type is guessed."""
    header = next(csv.reader([stream.readline().decode("utf-8-sig")]), [])
    _check_columns(path, header, mapping)
    if not stream.peek(1):
        return
    wanted = [name for name in mapping.wanted if name in header]
    reader = pa.csv.open_csv(
        stream,
        read_options=pa.csv.ReadOptions(column_names=header),
        convert_options=pa.csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            null_values=_NULLS,
            strings_can_be_null=True,
        ),
    )
    for batch in reader:
        yield from batch.to_pylist()


def _json_rows(
    path: Path, stream: io.BufferedReader[Any], mapping: FieldMapping
) -> Iterator[FileRow]:
    """Yield objects, one a line; a line may lack a column that others have."""
    lines = _json_lines(path, stream)
    peeked = list(itertools.islice(lines, _PEEKED_LINES))
    if peeked:
        names = list(dict.fromkeys(name for row in peeked for name in row))
        _check_columns(path, names, mapping)
    yield from itertools.chain(peeked, lines)


def _json_lines(path: Path, stream: io.BufferedReader[Any]) -> Iterator[FileRow]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ReplayError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ReplayError(
                f"{path} line {number} is a {type(row).__name__}; each line must be one object"
            )
        yield row


def _check_columns(path: Path, names: Sequence[str], mapping: FieldMapping) -> None:
    missing = [name for name in mapping.needed if name not in names]
    if missing:
        raise MappingError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(names) or 'none'}. "
            "Name the right one with --map field=column, or use another --mapping"
        )


def _event(path: Path, number: int, row: FileRow, mapping: FieldMapping) -> EventFields:
    """Return the fields that a row knows, converted."""
    event = dict(mapping.constants)
    for name, column in mapping.columns.items():
        value = row.get(column)
        if value is None:
            continue
        try:
            earlier = _converter(name, mapping)(value)
        except (ValueError, TypeError, OverflowError) as error:
            raise ReplayError(
                f"{path} row {number}: {column} is {value!r}, which is no {name}: {error}"
            ) from error
        if earlier is not None:
            event[name] = earlier
    if ("lat" in event) != ("lon" in event):
        event.pop("lat", None)
        event.pop("lon", None)
    event_name = None if mapping.events is None else row.get(mapping.events.column)
    if mapping.events is not None and event_name in mapping.events.ignition_on:
        event["ignition"] = True
    elif mapping.events is not None and event_name in mapping.events.ignition_off:
        event["ignition"] = False
    return event


def _converter(name: str, mapping: FieldMapping) -> _Convert:
    """Return what turns a column's value into a field's; it returns None for an unknown value."""
    if name == "vehicle_id":
        return _vehicle_id
    if name == "recorded_at":
        return _instants(mapping.time_format, mapping.timezone)
    if name in SWITCHES:
        return _switch
    unit = mapping.units.get(name)
    return _numbers(1.0 if unit is None else UNITS[name][unit])


def _vehicle_id(value: Any) -> str:
    vehicle_id = str(value)
    check_vehicle_id(vehicle_id)
    return vehicle_id


def _numbers(factor: float) -> _Convert:
    def number(value: Any) -> float | None:
        earlier = float(value) * factor
        if math.isinf(earlier):
            raise ValueError("it is not finite")
        return None if math.isnan(earlier) else earlier

    return number


def _instants(time_format: str, timezone: str | None) -> _Convert:
    zone = None if timezone is None else ZoneInfo(timezone)
    per_second = 1000 if time_format == "unix_ms" else 1

    def instant(value: Any) -> datetime:
        if not isinstance(value, datetime) and time_format != "iso":
            return datetime.fromtimestamp(float(value) / per_second, UTC)
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if at.tzinfo is None:
            if zone is None:
                raise ValueError(
                    "it has no offset from UTC; declare its zone with --timezone, such as UTC"
                )
            at = at.replace(tzinfo=zone)
        return at.astimezone(UTC)

    return instant


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"known are {', '.join(sorted(_TRUE | _FALSE))}")
