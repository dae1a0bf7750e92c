"""`fleetpulse doctor`: what is wrong with an installation, and what mends it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from infra.doctor.finding import Finding, Severity
from infra.settings import Settings

_STYLES = {Severity.OK: "green", Severity.WARNING: "yellow", Severity.FAULT: "bold red"}


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check broker, database, Grafana, clocks and disk. Changes nothing.

    Each finding names the command that corrects it. The exit code is 1 if there is a fault.
    """
    findings = asyncio.run(examine(Settings()))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    if any(finding.level is Severity.FAULT for finding in findings):
        raise typer.Exit(1)


async def examine(settings: Settings) -> list[Finding]:
    """Return all findings about the installation of these settings."""
    from infra.doctor.broker import look_at_broker
    from infra.doctor.database import look_at_database
    from infra.doctor.surroundings import look_at_disk, look_at_grafana, look_at_protection

    database = await look_at_database(settings)
    return [
        *await look_at_broker(settings.kafka, database.progress),
        *database.findings,
        *look_at_disk(database.data_directory),
        *look_at_protection(settings),
        *await asyncio.to_thread(look_at_grafana, settings),
    ]


def _show(findings: list[Finding]) -> None:
    console = Console()
    for finding in findings:
        line = Text.assemble(
            (f"{finding.level.value:8}", _STYLES[finding.level]),
            (f"{finding.subject}: ", "bold"),
            finding.text,
        )
        console.print(line)
        if finding.remedy:
            console.print(Text(f"        mend it: {finding.remedy}"))
    counts = {level: sum(finding.level is level for finding in findings) for level in Severity}
    console.print(", ".join(f"{count} {level.value}" for level, count in counts.items()))
