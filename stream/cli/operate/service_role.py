"""Database roles of our own processes, created by the owner of the tables."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from infra.database.access.service_roles import Service, grant_service_role
from infra.database.connection.pool import Pool
from stream.cli.database import with_pool

service_role = typer.Typer(
    no_args_is_help=True, help="Manage the database roles of our own processes."
)


def _password(service: Service) -> Any:
    """Return the option by which a role is given its password."""
    return typer.Option(
        f"--{service.value}-password",
        envvar=f"FLEETPULSE_{service.value.upper()}_ROLE_PASSWORD",
        show_default=False,
        help="Set it in the environment rather than on the command line.",
    )


@service_role.command("grant")
def grant(  # noqa: PLR0913 - an option a password
    services: Annotated[list[Service], typer.Argument(help="Processes to create a role for.")],
    *,
    prefix: Annotated[
        str, typer.Option(help="Prefix of the role names, before the name of the process.")
    ] = "fleetpulse_",
    ingest_password: Annotated[str | None, _password(Service.INGEST)] = None,
    worker_password: Annotated[str | None, _password(Service.WORKER)] = None,
    planner_password: Annotated[str | None, _password(Service.PLANNER)] = None,
    commands_password: Annotated[str | None, _password(Service.COMMANDS)] = None,
) -> None:
    """Create a database role for each process, or grant its rights again.

    Run it as the owner of the tables. An existing role keeps its password if you give none.
    """
    passwords = {
        Service.INGEST: ingest_password,
        Service.WORKER: worker_password,
        Service.PLANNER: planner_password,
        Service.COMMANDS: commands_password,
    }

    async def grant_all(pool: Pool) -> None:
        async with pool.connection() as connection:
            for service in services:
                await grant_service_role(
                    connection, service, f"{prefix}{service.value}", passwords[service] or None
                )

    with_pool(grant_all)
    for service in services:
        typer.echo(f"{prefix}{service.value} serves as {service.value}")
