"""Install the dashboards in an existing Grafana."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import SecretStr


def dashboards(
    user: Annotated[
        str,
        typer.Option(help="Database role that Grafana reads with, see `fleetpulse reader grant`."),
    ],
    password: Annotated[
        str,
        typer.Option(
            envvar="FLEETPULSE_READER_PASSWORD",
            help="Password. Set it in the environment rather than on the command line.",
        ),
    ],
    host: Annotated[
        str | None,
        typer.Option(
            help="Database host as Grafana reaches it (default: from FLEETPULSE_DATABASE_URL)."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Database port as Grafana reaches it (default: from FLEETPULSE_DATABASE_URL)."
        ),
    ] = None,
) -> None:
    """Create or update the data source, folder and dashboards in Grafana. Safe to repeat.

    Needs FLEETPULSE_GRAFANA_URL, and FLEETPULSE_GRAFANA_TOKEN, a service account's token with the
    role Admin, or user:password@ in the address.
    """
    from infra.grafana.provision import Reader, provision
    from infra.settings import Settings

    settings = Settings()
    reader = Reader.of(settings, user, SecretStr(password), host=host, port=port)
    for address in provision(settings, reader).dashboards:
        typer.echo(address)
