"""A back-test in words, with how little it may rest on."""

from __future__ import annotations

from typing import Final

from schemas.plans.backtest import BackTest, Contender

TELLING_WEEKS: Final = 4
"""Each weekday comes so often then that one strange day decides little (ours)."""


def in_words(test: BackTest, *, unproven: float, greedy_stopped: bool) -> str:
    """Say what was fitted, what was replayed, how each contender did, and how thin that is.

    `unproven` is the gap of the fitted plan, 0 where it is proven optimal; `greedy_stopped` says
    that the greedy rule had moves left to try when its time was over.
    """
    was, greedy, plan = test.contenders
    weeks = test.weeks_replayed
    sentences = [
        (
            f"Fitted on {test.weeks_fitted:.1f} weeks ({test.round_trips_fitted} round trips), "
            f"replayed on the {_weeks(weeks)} after them ({was.round_trips} round trips), which "
            "neither plan nor greedy rule had seen."
        ),
        (
            f"The fleet as it was {_did(was)}; the greedy rule, {_moves(greedy)}, {_did(greedy)}; "
            f"the plan, {_moves(plan)}, {_did(plan)}."
        ),
        _verdict(test.cost_ratio, test.greedy_cost_ratio),
    ]
    if unproven > 0:
        sentences.append(f"The fitted plan is not proven best, {unproven:.1%} are open.")
    if greedy_stopped:
        sentences.append("The greedy rule was stopped by its time limit; it might do better.")
    if weeks < TELLING_WEEKS:
        sentences.append(
            f"{_weeks(weeks).capitalize()} of replay and {test.weeks_fitted:.1f} of fitting are "
            f"thin evidence: one strange day is 1/{7 * weeks} of it."
        )
    return " ".join(sentences)


def _did(contender: Contender) -> str:
    return (
        f"serves {contender.served_share:.1%} for {contender.cost_dkk:,.0f} DKK "
        f"and {contender.co2e_kg:,.0f} kg CO2e"
    )


def _moves(contender: Contender) -> str:
    return f"{contender.moves} {'move' if contender.moves == 1 else 'moves'}"


def _weeks(count: int) -> str:
    return "one week" if count == 1 else f"{count} weeks"


def _verdict(ratio: float | None, greedy_ratio: float | None) -> str:
    if ratio is None or greedy_ratio is None:
        return "The fleet as it was costs nothing, so that there is no ratio."
    return (
        f"Beside the fleet as it was the plan costs {_against(ratio)}, the greedy rule "
        f"{_against(greedy_ratio)}."
    )


def _against(ratio: float) -> str:
    share = abs(1 - ratio)
    if round(share, 3) == 0:
        return "the same"
    return f"{share:.1%} {'less' if ratio < 1 else 'more'}"
