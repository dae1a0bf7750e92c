"""The day that tests of calendars and demos end on: any day will do, and each run may have its own.

`TEST_DAY=2026-03-29 make test` repeats what happened on that day; `.ci/run` draws one at random and
prints it. What a test asserts holds on all of them: `make test-days` tries thirty.
"""

from __future__ import annotations

import os
from datetime import date
from typing import Final

DAY: Final = date.fromisoformat(os.environ.get("TEST_DAY", "2026-03-29"))
"""A day that is over; without `TEST_DAY` the Sunday on which Danish clocks were put forward."""
