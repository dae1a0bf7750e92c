"""Tells an outage of database or broker from a fault of our own work."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import psycopg
from aiokafka.errors import KafkaError
from psycopg_pool import PoolTimeout


class Fault(Enum):
    """What an error tells of the work in which it was raised."""

    OUTAGE = auto()
    """Database or broker is away, full or busy: the same work succeeds later."""
    SESSION = auto()
    """The database ended our session or statement: it may be away, or the work may be why."""
    WORK = auto()
    """The work itself: it fails again, however often it is tried."""


_BUSY: Final = frozenset(
    {
        "40001",  # serialization failure
        "40P01",  # deadlock
        "55P03",  # lock not available: somebody holds it for long
    }
)
_OUTAGES: Final = frozenset(
    {
        "25006",  # read-only transaction: a standby that is about to be promoted
        "53100",  # disk full
        "53300",  # too many connections
        "57P02",  # crash shutdown: another session's fault
        "57P03",  # cannot connect now
        "57P04",  # database dropped
    }
)
_OUTAGE_CLASSES: Final = frozenset(
    {
        "08",  # connection exception
        "28",  # invalid authorization
        "3D",  # invalid catalog name: no such database
        "58",  # system error, such as input and output
    }
)
_SCHEMA_CLASSES: Final = frozenset(
    {
        "0A",  # feature not supported, such as a prepared plan of before a migration
        "42",  # the schema, or our rights in it, are not what this program needs
    }
)
"""Codes of PostgreSQL's appendix A, "PostgreSQL Error Codes". A class is the first two letters."""


def judge(error: BaseException) -> Fault:
    """Return what an error tells of the work in which it was raised.

    A connection that is lost without a word of the server counts as `SESSION`: a cut cable looks
    like a backend that was killed for the memory that our statement took.
    """
    if isinstance(error, (PoolTimeout, KafkaError, OSError)):
        return Fault.OUTAGE
    if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
        return Fault.WORK
    if not isinstance(error, psycopg.Error):
        return Fault.WORK
    state = error.sqlstate
    if state is None and not _is_of_the_connection(error):
        return Fault.WORK  # what psycopg itself refuses to send, before the server sees it
    classes = _OUTAGE_CLASSES | _SCHEMA_CLASSES
    if state in _OUTAGES | _BUSY or (state is not None and state[:2] in classes):
        return Fault.OUTAGE
    return Fault.SESSION


def is_session_lost(error: BaseException) -> bool:
    """Return whether an error is that of a connection which ended, by whomever."""
    if not isinstance(error, psycopg.Error):
        return False
    return error.sqlstate == "57P01" or (error.sqlstate is None and _is_of_the_connection(error))


def _is_of_the_connection(error: psycopg.Error) -> bool:
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))


def is_away(error: BaseException) -> bool:
    """Return whether an error says that database or broker cannot be used by anybody now.

    Not so where somebody else holds what this work wants, or only this work lacks a table: other
    work may go on.
    """
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is not None and (state in _BUSY or state[:2] in _SCHEMA_CLASSES):
        return False
    return judge(error) is Fault.OUTAGE or is_session_lost(error)
