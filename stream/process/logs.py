"""One way of logging for all our processes: structured, on standard error.

No line tells where a vehicle was, or a key or password: local variables are never printed, and of
what errors say the values are left out, since a library's error shows the input that it refused.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import stamina
import structlog

_VALUES: Final = (
    # pydantic: `[type=..., input_value=56.3, input_type=float]`, and the same of a whole event.
    (re.compile(r"input_value=.*?, input_type=", re.DOTALL), "input_value=..., input_type="),
    # PostgreSQL: `Failing row contains (...)`, `COPY fix, line 1, column lat: "..."` and the like.
    (re.compile(r"(?m)^(DETAIL|CONTEXT):.*(?:\n(?!$|[A-Z]+:|  |Traceback ).*)*"), r"\1: ..."),
    (re.compile(r"\\n(DETAIL|CONTEXT):.*"), r"\\n\1: ..."),  # the same in a repr
    (re.compile(r"(invalid input syntax for type [\w ]+): .*"), r"\1: ..."),
    # Our own refusals: `is out of range, got '91.5'`.
    (re.compile(r"""\bgot (\\*['"]).*?\1"""), "got ..."),
    # Of a key what `fleetpulse key list` shows of it.
    (re.compile(r"\b(fp_[\w-]{6})[\w-]{20,}"), r"\1..."),
    (re.compile(r"(://[^\s/:@]*):[^\s/@]+@"), r"\1:...@"),
    (re.compile(r"(?i)\b(password\s*=\s*)('[^']*'|\S+)"), r"\1..."),
)
_TRACEBACK: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def without_values(text: str) -> str:
    """Return what an error says without the values that it shows."""
    for pattern, instead in _VALUES:
        text = pattern.sub(instead, text)
    return text


def configure(level: str, *, as_json: bool) -> None:
    """Send our own and the libraries' logs to standard error.

    Libraries speak from WARNING on. Raises `ValueError` for a level that does not exist.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[Any] = (
        [_TRACEBACK, _leave_out_values, structlog.processors.JSONRenderer()]
        if as_json
        else [
            _leave_out_values,
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_plain_traceback),
        ]
    )
    # Who gives up says so once; each try is no news.
    stamina.instrumentation.set_on_retry_hooks([])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for ours in ("stream", "infra"):
        logging.getLogger(ours).setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _leave_out_values(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave out the values in all that a line says, however deep; exceptions are not yet text."""
    return {
        name: value if name == "exc_info" else _told_without_values(value)
        for name, value in event.items()
    }


def _told_without_values(value: Any) -> Any:
    if isinstance(value, str):
        return without_values(value)
    if isinstance(value, dict):
        return {name: _told_without_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_told_without_values(inner) for inner in value]
    if isinstance(value, BaseException):
        return without_values(repr(value))
    return value


def _plain_traceback(out: TextIO, exc_info: Any) -> None:
    out.write(without_values("".join(traceback.format_exception(*exc_info))))
