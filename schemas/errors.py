"""The tree of all errors of ours: who can act on one is a matter of its branch.

Each class derives from one of three: what the user can mend, what is away, and what is a bug. The
edge of a process translates by branch, once: `stream.cli.edge` for commands.
"""

from __future__ import annotations

from typing import ClassVar


class FleetpulseError(Exception):
    """Any error of ours. `exit_code` is what a command ends with that it reaches."""

    exit_code: ClassVar[int] = 1


class UserError(FleetpulseError):
    """The user can mend it: bad input, an unknown id, a decision that cannot be.

    The message names the value, the limit and the remedy. What was asked for wrongly ends a command
    with 2; a class whose question was right, and has no answer, sets 1.
    """

    exit_code = 2


class OutageError(FleetpulseError):
    """Something that we need is away: a database, broker, Grafana, road service or gateway.

    The message names it, and what to look at. To try again later may do.
    """


class InternalError(FleetpulseError):
    """A bug where it reaches an edge: an invariant is broken, or a signal of ours was not caught.

    It is shown with its traceback.
    """
