"""Expand a panel's SQL as Grafana does, so that a dashboard can be tested without Grafana.

What is expanded: template variables (`${name:sqlstring}`, `${name}`, `$name`), `$__interval`,
`$__interval_ms` and the macros `$__timeFilter`, `$__timeFrom`, `$__timeTo`, `$__timeGroup` and
`$__timeGroupAlias` of the PostgreSQL data source, as its documentation describes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.errors import InternalError

Variables = Mapping[str, str | Sequence[str]]

_VARIABLE: Final = re.compile(r"\$\{(?P<braced>\w+)(?::(?P<format>\w+))?\}|\$(?P<bare>[a-zA-Z]\w*)")
_INTERVAL: Final = re.compile(r"\$\{?__interval(?P<ms>_ms)?\b\}?")
_MACRO: Final = re.compile(r"\$(?P<name>__\w+)\((?P<arguments>[^)]*)\)")
_DURATION: Final = re.compile(r"(?P<count>\d+)(?P<unit>ms|s|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class SqlExpansionError(InternalError):
    """A variable or macro that is not known, or that is used wrongly."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """What a viewer has chosen: from, to, and the width of a point."""

    start: datetime
    end: datetime
    interval: timedelta = timedelta(days=1)


def sqlstring(value: str | Sequence[str]) -> str:
    """Return one value, or several with commas, as SQL string literals."""
    values = [value] if isinstance(value, str) else value
    return ",".join("'" + argument.replace("'", "''") + "'" for argument in values)


def expand(query: str, *, shown: TimeRange, variables: Variables) -> str:
    """Return the SQL that the data source sends. Raises `SqlExpansionError`, never guesses."""
    query = _INTERVAL.sub(
        lambda match: (
            str(round(shown.interval / timedelta(milliseconds=1)))
            if match["ms"]
            else f"{round(shown.interval.total_seconds())}s"
        ),
        query,
    )
    query = _VARIABLE.sub(lambda match: _variable(match, variables), query)
    query = _MACRO.sub(lambda match: _macro(match, shown), query)
    if "$__" in query:
        raise SqlExpansionError(f"unknown or incomplete macro in: {query}")
    return query


def _variable(match: re.Match[str], variables: Variables) -> str:
    name = match["braced"] or match["bare"]
    if name not in variables:
        raise SqlExpansionError(f"no variable {name}; there are {', '.join(variables) or 'none'}")
    value = variables[name]
    if match["format"] == "sqlstring":
        return sqlstring(value)
    if match["format"] is not None or not isinstance(value, str):
        raise SqlExpansionError(f"write ${{{name}:sqlstring}} instead of {match[0]}")
    return value


def _macro(match: re.Match[str], shown: TimeRange) -> str:
    name = match["name"]
    arguments = [argument.strip() for argument in match["arguments"].split(",") if argument.strip()]
    start, end = _instant(shown.start), _instant(shown.end)
    match name, arguments:
        case "__timeFrom", []:
            return f"'{start}'"
        case "__timeTo", []:
            return f"'{end}'"
        case "__timeFilter", [column]:
            return f"{column} BETWEEN '{start}' AND '{end}'"
        case "__timeGroup", [column, width]:
            return _group(column, width)
        case "__timeGroupAlias", [column, width]:
            return f'{_group(column, width)} AS "time"'
        case _:
            raise SqlExpansionError(f"unknown macro or wrong arguments: {match[0]}")


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _group(column: str, width: str) -> str:
    match = _DURATION.fullmatch(width.strip("'"))
    if match is None:
        raise SqlExpansionError(f"width {width} is none; write a number and ms, s, m, h, d or w")
    seconds = int(match["count"]) * _SECONDS[match["unit"]]
    return f"floor(extract(epoch from {column})/{seconds:g})*{seconds:g}"
