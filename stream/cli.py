"""`fleetpulse`: from a vendor's push to a placement plan."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError

from infra.settings import Settings
from stream import logs
from stream.commands import access, dashboards, planning, services, upkeep
from stream.commands.alerts import alerts
from stream.commands.demo import demo, up
from stream.commands.fleet import fleet
from stream.commands.replay import replay
from stream.commands.simulate import simulate

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Event-driven telematics for municipal vehicle fleets.\n\n"
    "New here? [bold]fleetpulse demo[/bold] runs everything once on servers of its own. "
    "Settings come from FLEETPULSE_… in the environment; see README.md.",
)
TRY, RUN, FEED, OPERATE = "Try it", "Run it", "Feed it", "Operate it"

app.command(rich_help_panel=TRY)(demo)
app.command(rich_help_panel=TRY)(up)
app.command(rich_help_panel=RUN)(services.migrate)
app.command(rich_help_panel=RUN)(services.ingest)
app.command(rich_help_panel=RUN)(services.worker)
app.command(rich_help_panel=RUN)(services.planner)
app.command(rich_help_panel=FEED)(simulate)
app.command(rich_help_panel=FEED)(replay)
app.add_typer(fleet, name="fleet", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(planning.plan)
app.add_typer(alerts, name="alerts", rich_help_panel=OPERATE)
app.add_typer(access.key, name="key", rich_help_panel=OPERATE)
app.add_typer(access.reader, name="reader", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(dashboards.dashboards)
app.add_typer(upkeep.dead_letters, name="dead-letters", rich_help_panel=OPERATE)
app.add_typer(upkeep.progress, name="progress", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(upkeep.prune)


@app.callback()
def _prepare() -> None:
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            place = "_".join(str(part) for part in fault["loc"]).upper()
            typer.echo(f"setting FLEETPULSE_{place}: {fault['msg']}", err=True)
        raise typer.Exit(2) from None
    logs.configure(settings.log_level, as_json=settings.log_json)


def main() -> None:
    """Run the command line; a closed pipe, as of `| head`, is no error."""
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
