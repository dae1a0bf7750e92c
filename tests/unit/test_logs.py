"""What a log line may say: what went wrong and where, but no position, key or password."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog
from pydantic import ValidationError

from schemas.events.fix import Fix
from stream.process import logs

_LAT = 56.32261
_KEY = "fp_" + "AbCdEf" + "ghijklmnopqrstuvwxyz0123456789_-abcde"


@pytest.fixture(params=[True, False], ids=["json", "console"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Yield what is logged, in either form; the logging of before is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    logs.configure("info", as_json=request.param)
    yield out
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def _fail_with(error: Exception) -> None:
    lat, key = _LAT, _KEY  # a frame with what must not be printed
    assert (lat, key) == (_LAT, _KEY)
    raise error


def _written(log: io.StringIO, error: Exception) -> str:
    """Log an error as a handler does: with its traceback, as its text, and as it is."""
    logger = structlog.get_logger("stream.test")
    try:
        _fail_with(error)
    except type(error) as caught:
        logger.exception("it failed", reason=str(caught), error=repr(caught), raised=caught)
        logging.getLogger("faust.agents").warning("library failed: %s", caught, exc_info=caught)
    text = log.getvalue()
    assert "_fail_with" in text  # the traceback is there
    assert "it failed" in text
    assert "library failed" in text
    return text


def test_local_variables_are_not_printed(log: io.StringIO) -> None:
    text = _written(log, RuntimeError("no room"))
    assert "no room" in text
    assert str(_LAT) not in text
    assert _KEY not in text
    for line in text.splitlines():
        if line.startswith("{"):
            json.loads(line)


def test_an_event_that_breaks_the_schema_is_not_printed(log: io.StringIO) -> None:
    with pytest.raises(ValidationError) as refused:
        Fix.model_validate(
            {
                "vehicle_id": "syddjurs/a",
                "recorded_at": "2026-03-01T08:00:00Z",
                "lat": _LAT,
                "lon": 10.44612,
                "speed_mps": -7.25,
                "unknown": {"lat": _LAT},
            }
        )
    assert "7.25" in str(refused.value)
    text = _written(log, refused.value)
    assert "speed_mps" in text
    for value in (str(_LAT), "10.44612", "7.25"):
        assert value not in text


def test_the_value_of_an_event_that_we_refuse_is_not_printed(log: io.StringIO) -> None:
    reason = f"event 0, lat: is out of range, got {str(_LAT)!r}; then got {chr(39) + str(_LAT)!r}"
    text = _written(log, ValueError(reason))
    assert "event 0, lat: is out of range, got ..." in text
    assert str(_LAT) not in text


@pytest.mark.parametrize(
    "secret",
    [
        f"key {_KEY} is not known",
        "connection to postgresql://fleetpulse:h0rse-battery@db:5432/fleetpulse failed",
        "connection with host=db password=h0rse-battery failed",
        "connection with host=db password='h0rse-battery' failed",
    ],
)
def test_keys_and_passwords_are_not_printed(log: io.StringIO, secret: str) -> None:
    text = _written(log, RuntimeError(secret))
    assert _KEY not in text
    assert "h0rse" not in text
    assert ("fp_AbCdEf..." in text) == ("fp_" in secret)
