"""Who may do what: vendors' keys and readers of dashboards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table

from infra.database import keys as store
from infra.database.pool import Pool, make_pool
from infra.database.readers import ReaderRefusedError, grant_reader
from infra.settings import Settings

Result = TypeVar("Result")
key = typer.Typer(no_args_is_help=True, help="Keys that vendors push with.")
reader = typer.Typer(no_args_is_help=True, help="Database roles that dashboards read with.")


def with_pool(work: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run work on a pool of its own."""

    async def main() -> Result:
        async with make_pool(Settings(), max_size=1) as pool:
            return await work(pool)

    return asyncio.run(main())


def with_connection(work: Callable[[AsyncConnection[TupleRow]], Awaitable[Result]]) -> Result:
    """Run work in one transaction."""

    async def main(pool: Pool) -> Result:
        async with pool.connection() as connection:
            return await work(connection)

    return with_pool(main)


@key.command("create")
def create(
    municipality: Annotated[str, typer.Argument(help="Whose vehicles the vendor may report.")],
    vendor: Annotated[str, typer.Argument(help="Name of the vendor.")],
) -> None:
    """Create a key and print it; it cannot be shown again."""
    try:
        made = with_connection(
            lambda connection: store.create_key(connection, municipality, vendor)
        )
    except errors.ForeignKeyViolation:
        raise typer.BadParameter(
            f"no municipality {municipality!r} is entered; enter it in table municipality first"
        ) from None
    typer.echo(made)


@key.command("list")
def list_() -> None:
    """List all keys by their first characters."""
    table = Table("key", "municipality", "vendor", "created", "revoked")
    for row in with_connection(store.list_keys):
        table.add_row(*(str(value or "") for value in row))
    Console().print(table)


@key.command("revoke")
def revoke(
    prefix: Annotated[str, typer.Argument(help="First characters, as `key list` shows them.")],
) -> None:
    """Revoke a key; gateways notice within ten seconds."""
    count = with_connection(lambda connection: store.revoke_keys(connection, prefix))
    if not count:
        raise typer.BadParameter(f"no valid key begins with {prefix!r}; see `fleetpulse key list`")
    typer.echo(f"revoked {count}")


@reader.command("grant")
def grant(
    role: Annotated[str, typer.Argument(help="Name of the database role; created if missing.")],
    municipalities: Annotated[list[str], typer.Argument(help="Which municipalities it reads.")],
    password: Annotated[
        str | None,
        typer.Option(
            envvar="FLEETPULSE_READER_PASSWORD",
            help="Its password. Better given by the environment than on the command line.",
        ),
    ] = None,
) -> None:
    """Let a role read the dashboards' views of some municipalities, and nothing else."""
    try:
        with_pool(lambda pool: grant_reader(pool, role, municipalities, password))
    except ReaderRefusedError as refused:
        raise typer.BadParameter(str(refused)) from None
    typer.echo(f"{role} reads {', '.join(municipalities)}")
