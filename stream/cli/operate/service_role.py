"""Database roles of our own processes, made by the owner of the tables."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from infra.database.access.service_roles import Service, grant_service_role
from infra.database.connection.pool import Pool
from stream.cli.database import with_pool

service_role = typer.Typer(
    no_args_is_help=True, help="Database roles that our own processes connect with."
)


def _password(service: Service) -> Any:
    """Return the option by which a role is given its password."""
    return typer.Option(
        f"--{service.value}-password",
        envvar=f"FLEETPULSE_{service.value.upper()}_ROLE_PASSWORD",
        show_default=False,
        help="Better given by the environment than on the command line.",
    )


@service_role.command("grant")
def grant(  # noqa: PLR0913 - an option a password
    services: Annotated[list[Service], typer.Argument(help="Which processes.")],
    *,
    prefix: Annotated[
        str, typer.Option(help="A role is called this and the name of its service.")
    ] = "fleetpulse_",
    ingest_password: Annotated[str | None, _password(Service.INGEST)] = None,
    worker_password: Annotated[str | None, _password(Service.WORKER)] = None,
    planner_password: Annotated[str | None, _password(Service.PLANNER)] = None,
    commands_password: Annotated[str | None, _password(Service.COMMANDS)] = None,
) -> None:
    """Create a role for each service, or give it its rights again. Needs the owner's role.

    A role that exists keeps its password where none is given.
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
