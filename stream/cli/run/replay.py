"""`fleetpulse replay`: push recorded fixes from files to a running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from schemas.events.history import HistoryRange
    from stream.ingest_client import PushResult
    from stream.replay.mapping import FieldMapping
    from stream.replay.reader import ReadCounts

_PAIR = "FIELD=VALUE"


def replay(  # noqa: PLR0913, PLR0917 - each is an option of the command
    files: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            dir_okay=False,
            readable=True,
            help="Files in CSV, JSON lines (both also gzipped, .gz) or Parquet.",
        ),
    ],
    url: Annotated[
        str, typer.Option(help="Address of `fleetpulse ingest`.")
    ] = "http://127.0.0.1:8000",
    key: Annotated[
        str,
        typer.Option(
            envvar="FLEETPULSE_VENDOR_KEY",
            help="Key from `fleetpulse key create`; it decides the municipality. For positions "
            "older than 90 days, create it with --history.",
        ),
    ] = "",
    mapping: Annotated[
        str | None,
        typer.Option(
            help="Meaning of the columns: cabspotting, tracked-van, or your own TOML file "
            "(default: columns have the names of the native format)."
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Column of a field. Repeatable."),
    ] = None,
    constants: Annotated[
        list[str] | None,
        typer.Option("--set", metavar=_PAIR, help="Value of a field in every row. Repeatable."),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(
            "--unit",
            metavar="FIELD=UNIT",
            help="Unit of a column, such as speed_mps=km/h. Repeatable.",
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(help="Time zone of times without offset, such as Europe/Copenhagen."),
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help="iso, unix_s or unix_ms (default: from the mapping, else iso)."),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            min=0, help="Multiple of real time: 1 is live, 60 is an hour a minute, 0 is unlimited."
        ),
    ] = 0.0,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="SINCE/UNTIL",
            help="Time range of history, such as 2024-01-01/2024-06-30 (default: read from the "
            "files). Positions outside of it that are too old become dead letters. The key must "
            "allow history.",
        ),
    ] = None,
    dry_run: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--dry-run", help="Only read the files and show what is in them.")
    ] = False,
) -> None:
    """Push recorded positions to the same address that vendors use. Safe to repeat.

    Example: fleetpulse replay cabs.csv.gz --mapping cabspotting --key fp_...
    """
    from schemas.events.history import HistoryRange
    from stream.replay.mapping import load_mapping
    from stream.replay.push import check_files
    from stream.replay.reader import ReadCounts

    console = Console()
    overrides: dict[str, Any] = {
        "columns": _pairs("--map", columns),
        "constants": _pairs("--set", constants),
        "units": _pairs("--unit", units),
    }
    overrides |= {
        name: value
        for name, value in (("timezone", timezone), ("time_format", time_format))
        if value is not None
    }
    counts = ReadCounts(bytes_total=sum(path.stat().st_size for path in files))
    if not (key or dry_run):
        raise typer.BadParameter(
            "no key; give --key or set FLEETPULSE_VENDOR_KEY, or only look with --dry-run"
        )
    declared = load_mapping(mapping, overrides)
    history_range = None if history is None else HistoryRange.parse(history)
    if dry_run:
        vehicles = check_files(files, declared, counts)
        console.print(f"{vehicles:,} vehicles; {_read(counts)}", highlight=False)
        return
    result = asyncio.run(
        _push(
            files,
            declared,
            counts,
            console,
            url=url,
            key=key,
            speed=speed,
            history=history_range,
        )
    )
    console.print(_read(counts), highlight=False)
    console.print(f"accepted {result.accepted:,}, rejected {result.rejected:,}", highlight=False)
    for reason in result.reasons:
        console.print(f"  {reason}", highlight=False)


async def _push(  # noqa: PLR0913 - the options of the command
    files: Sequence[Path],
    mapping: FieldMapping,
    counts: ReadCounts,
    console: Console,
    *,
    url: str,
    key: str,
    speed: float,
    history: HistoryRange | None,
) -> PushResult:
    from stream.ingest_client import GIVE_UP_AFTER_S, VendorClient
    from stream.replay.push import push_files

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[accepted]:,} accepted"),
        TimeElapsedColumn(),
        console=console,
    )
    # In time, files are read before the first fix is due: progress is then what has been pushed.
    with progress:
        task = progress.add_task("replay", total=None if speed else counts.bytes_total, accepted=0)

        def show(result: PushResult, read: ReadCounts) -> None:
            if speed:
                done = result.accepted + result.rejected
                progress.update(task, total=read.events, completed=done, accepted=result.accepted)
            else:
                progress.update(task, completed=read.bytes_read, accepted=result.accepted)

        async with VendorClient(url, key, give_up_after_s=GIVE_UP_AFTER_S) as client:
            return await push_files(
                files,
                mapping,
                client,
                speed=speed,
                history=history,
                counts=counts,
                progress=show,
            )


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{pair!r}: {option} is written FIELD=VALUE, without blanks")
        pairs[name] = value
    return pairs


def _read(counts: ReadCounts) -> str:
    skipped = ", ".join(f"{count:,} without: {why}" for why, count in counts.skipped.items())
    return f"{counts.rows:,} rows, {counts.events:,} fixes, {counts.merged:,} rows merged" + (
        f"; left out {skipped}" if skipped else ""
    )
