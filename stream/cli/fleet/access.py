"""Access: API keys of vendors and database roles of dashboards."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from infra.database.access.readers import grant_reader, revoke_reader
from infra.database.fleet import api_keys as store
from stream.cli.database import with_connection, with_pool

_VENDOR_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}"
key = typer.Typer(no_args_is_help=True, help="Manage the API keys of vendors.")
reader = typer.Typer(no_args_is_help=True, help="Manage the database roles of dashboards.")


@key.command("create")
def create(
    municipality: Annotated[
        str, typer.Argument(help="Municipality whose vehicles the vendor may report.")
    ],
    vendor: Annotated[str, typer.Argument(help="Name of the vendor.")],
    history: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool,
        typer.Option(
            "--history",
            help="Also accept history, as `replay` pushes it: positions from before raw positions "
            "are kept, in a time range that each request declares.",
        ),
    ] = False,
) -> None:
    """Create a key and print it. It cannot be shown again."""
    if re.fullmatch(_VENDOR_PATTERN, vendor) is None:
        raise typer.BadParameter(
            f"vendor {vendor!r} does not match {_VENDOR_PATTERN}; it becomes a label of metrics"
        )
    typer.echo(
        with_connection(
            lambda connection: store.create_key(connection, municipality, vendor, history=history)
        )
    )


@key.command("list")
def list_() -> None:
    """List all keys by their first characters."""
    table = Table("key", "municipality", "vendor", "history", "created", "revoked")
    for prefix, municipality, vendor, history, created, revoked in with_connection(store.list_keys):
        table.add_row(
            prefix,
            municipality,
            vendor,
            "yes" if history else "no",
            str(created),
            str(revoked or ""),
        )
    Console().print(table)


@key.command("revoke")
def revoke(
    prefix: Annotated[str, typer.Argument(help="First characters, as `key list` shows them.")],
) -> None:
    """Revoke a key. Gateways refuse it within ten seconds."""
    count = with_connection(lambda connection: store.revoke_keys(connection, prefix))
    if not count:
        raise typer.BadParameter(f"no valid key begins with {prefix!r}; see `fleetpulse key list`")
    typer.echo(f"revoked {count}")


@reader.command("grant")
def grant(
    role: Annotated[
        str, typer.Argument(help="Name of the database role. It is created if it does not exist.")
    ],
    municipalities: Annotated[list[str], typer.Argument(help="Municipalities that it may read.")],
    password: Annotated[
        str | None,
        typer.Option(
            envvar="FLEETPULSE_READER_PASSWORD",
            help="Password. Set it in the environment rather than on the command line.",
        ),
    ] = None,
) -> None:
    """Let a role read the dashboard views of some municipalities, and nothing else."""
    with_pool(lambda pool: grant_reader(pool, role, municipalities, password))
    typer.echo(f"{role} reads {', '.join(municipalities)}")


@reader.command("revoke")
def revoke_reading(
    role: Annotated[str, typer.Argument(help="Name of the database role.")],
    municipalities: Annotated[
        list[str] | None, typer.Argument(help="Municipalities (default: all).")
    ] = None,
) -> None:
    """Stop a role from reading municipalities, from its next query on."""
    with_pool(lambda pool: revoke_reader(pool, role, municipalities or None))
    typer.echo(f"{role} no longer reads {', '.join(municipalities or ['anything'])}")
