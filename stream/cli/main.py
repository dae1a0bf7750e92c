"""`fleetpulse`: from a vendor's push to a placement plan."""

from __future__ import annotations

import os
import sys
from typing import Final

import typer
from pydantic import ValidationError

from infra.settings import KafkaSettings, PlannerSettings, Settings, TravelSettings
from stream.cli.edge import Edge
from stream.cli.fleet import access
from stream.cli.fleet.fleet import fleet
from stream.cli.fleet.municipality import municipality
from stream.cli.fleet.tracker import tracker
from stream.cli.fleet.vendor import vendor
from stream.cli.operate import dashboards, prune
from stream.cli.operate.alerts import alerts
from stream.cli.operate.dead_letters import dead_letters
from stream.cli.operate.doctor import doctor
from stream.cli.operate.offsets import offsets
from stream.cli.operate.recompute import recompute
from stream.cli.operate.service_role import service_role
from stream.cli.plans import plan
from stream.cli.run import services
from stream.cli.run.demo import demo, up
from stream.cli.run.replay import replay
from stream.cli.run.simulate import simulate
from stream.cli.studies.study import study
from stream.process import logs

app = typer.Typer(
    cls=Edge,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Event-driven telematics for municipal vehicle fleets.\n\n"
    "New here? [bold]fleetpulse demo[/bold] runs everything once on servers of its own. "
    "Settings come from FLEETPULSE_… in the environment; see README.md.",
)
_PREFIXES: Final = {
    model.__name__: model.model_config.get("env_prefix", "")
    for model in (Settings, KafkaSettings, PlannerSettings, TravelSettings)
}
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
app.add_typer(municipality, name="municipality", rich_help_panel=OPERATE)
app.add_typer(tracker, name="tracker", rich_help_panel=OPERATE)
app.add_typer(vendor, name="vendor", rich_help_panel=OPERATE)
app.add_typer(plan.plan, name="plan", rich_help_panel=OPERATE)
app.add_typer(study, name="study", rich_help_panel=OPERATE)
app.add_typer(alerts, name="alerts", rich_help_panel=OPERATE)
app.add_typer(access.key, name="key", rich_help_panel=OPERATE)
app.add_typer(access.reader, name="reader", rich_help_panel=OPERATE)
app.add_typer(service_role, name="service-role", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(dashboards.dashboards)
app.command(rich_help_panel=OPERATE)(doctor)
app.add_typer(dead_letters, name="dead-letters", rich_help_panel=OPERATE)
app.add_typer(offsets, name="offsets", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(recompute)
app.command(rich_help_panel=OPERATE)(prune.prune)


@app.callback()
def _prepare() -> None:
    try:
        settings = Settings()
    except ValidationError as error:
        # Each nested model reads variables of its own: its title is its class's name.
        prefix = _PREFIXES.get(error.title, "FLEETPULSE_")
        for fault in error.errors(include_url=False, include_input=False):
            name = "_".join(str(part) for part in fault["loc"]).upper()
            message = fault["msg"].removeprefix("Value error, ")
            typer.echo(f"setting {prefix}{name}: {message}" if name else message, err=True)
        raise typer.Exit(2) from None
    logs.configure(settings.log_level, as_json=settings.log_json)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except BrokenPipeError:  # as of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
