"""The edge of the command line: what a command raises becomes a line and an exit code here."""

from __future__ import annotations

import logging
import sys
from typing import Any

import psycopg
import typer
from aiokafka.errors import KafkaError
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout
from typer.core import TyperGroup

from infra.settings import Settings
from schemas.errors import FleetpulseError, InternalError


class Edge(TyperGroup):
    """The group of all commands: translates what they raise, by the branch of `schemas.errors`.

    What the user can mend and what is away is told in a line, without a traceback, as is a
    `ValueError` by which a library refuses a value of the settings. Anything else is a bug, and
    goes on with its traceback.
    """

    # Typer brings a click of its own or not, by its version: the context is either's.
    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except InternalError:
            raise
        except FleetpulseError as error:
            raise _ended(error, str(error), error.exit_code) from None
        except (*_database_errors(), KafkaError, OSError, ValueError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise _ended(error, explain(error), 1) from None


def _ended(error: Exception, message: str, exit_code: int) -> typer.Exit:
    logging.getLogger(__name__).debug("the command failed", exc_info=error)
    typer.echo(f"fleetpulse: {message}", err=True)
    return typer.Exit(exit_code)


def explain(error: Exception) -> str:
    """Return which thing outside of us is away, where it should be, and what to do."""
    message = " ".join(str(getattr(error, "orig", None) or error).split())
    if "UndefinedTable" in f"{type(error).__name__} {type(getattr(error, 'orig', None)).__name__}":
        return f"the database has no tables of ours ({message}); run: fleetpulse migrate"
    if isinstance(error, _database_errors()):
        return f"database {_database()}: {message}; see FLEETPULSE_DATABASE_URL"
    if isinstance(error, KafkaError):
        brokers = Settings().kafka.bootstrap_servers
        return f"kafka at {brokers}: {message or error!r}; see FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS"
    return message or repr(error)


def _database_errors() -> tuple[type[Exception], ...]:
    """Return what a database raises.

    SQLAlchemy, under migrations only, takes long to import: where it is not, it raised nothing.
    """
    raised: list[type[Exception]] = [psycopg.Error, PoolTimeout]
    if (sqlalchemy := sys.modules.get("sqlalchemy.exc")) is not None:
        raised.append(sqlalchemy.SQLAlchemyError)
    return tuple(raised)


def _database() -> str:
    """Return where the database is, without the password."""
    try:
        address = conninfo_to_dict(Settings().database_url.get_secret_value())
    except psycopg.ProgrammingError:
        return "at an address that is none"
    return f"{address.get('dbname')} at {address.get('host')}:{address.get('port') or 5432}"
