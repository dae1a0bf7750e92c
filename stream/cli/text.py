"""Words that the terminal's views of a plan share."""

from __future__ import annotations

from schemas.plans.plan import PlacementPlan


def counted(count: int, what: str, many: str = "") -> str:
    """Return a count with its noun, in the plural where need be: with an s, or as given."""
    return f"{count} {what}" if count == 1 else f"{count} {many or f'{what}s'}"


def moves_in_words(plan: PlacementPlan) -> str:
    """Return how many vehicles move, and how many without a home depot get one."""
    new = sum(1 for move in plan.moves if move.from_depot_id is None)
    moves = counted(len(plan.moves) - new, "move")
    return f"{moves} and {counted(new, 'new home')}" if new else moves
