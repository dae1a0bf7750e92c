"""Back-tests of plans on weeks that they were not fitted to, beside the fleet as it was.

Three towns whose demand drifts, twelve weeks each: fitted on eight, replayed on four. What is
observed has only the trips that found a vehicle, and the transfers that somebody drove for them;
`wanted_` are the same placements on what people wanted, which only a simulation knows.
`python -m bench.backtest` prints a table, with `--json` one flat object.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from bench.drifting_town import town
from optimizer.backtest.replay import requests_of
from optimizer.backtest.run import contender, fit, yard_of
from optimizer.backtest.split import split
from optimizer.search import Search
from schemas.fleet.costs import Costs
from schemas.plans.backtest import ContenderName

COSTS = Costs()

SEEDS: Final = (1, 2, 3)
SEARCH: Final = Search(seed=1, time_limit_s=30)

_PLAN, _GREEDY, _WAS = ContenderName.PLAN, ContenderName.GREEDY, ContenderName.AS_IT_WAS


def backtest_figures(*, forecast: bool = False) -> dict[str, float]:
    """Return cost over cost as it was, of all towns together, and what was served.

    With a forecast, the plan takes each depot's demand as forecast where that beats last week.
    """
    cost: defaultdict[tuple[str, ContenderName], float] = defaultdict(float)
    served: defaultdict[tuple[str, ContenderName], int] = defaultdict(int)
    asked: defaultdict[str, int] = defaultdict(int)
    for seed in SEEDS:
        drifting = town(seed)
        policy = drifting.inputs.policy.model_copy(update={"forecast": forecast})
        parts = split(drifting.inputs.model_copy(update={"policy": policy}))
        placements = fit(parts, SEARCH).placements
        yard = yard_of(parts.fitted, placements[_WAS], parts.days_replayed)
        weeks = {
            "": requests_of(parts.replayed, parts.fitted.all_vehicles, COSTS),
            "wanted_": tuple(
                request for request in drifting.wanted if request.started_at >= parts.cut_at
            ),
        }
        for kind, requests in weeks.items():
            for name, placement in placements.items():
                entry = contender(name, requests, yard, placement)
                cost[kind, name] += entry.cost_dkk
                served[kind, name] += entry.served_round_trips
            asked[kind] += sum(request.round_trips for request in requests)
    return _figures(cost, served, asked)


def _figures(
    cost: Mapping[tuple[str, ContenderName], float],
    served: Mapping[tuple[str, ContenderName], int],
    asked: Mapping[str, int],
) -> dict[str, float]:
    figures: dict[str, float] = {}
    for kind, count in asked.items():
        figures |= {
            f"{kind}backtest_cost_ratio": cost[kind, _PLAN] / cost[kind, _WAS],
            f"greedy_{kind}backtest_cost_ratio": cost[kind, _GREEDY] / cost[kind, _WAS],
            f"{kind}backtest_served_share": served[kind, _PLAN] / count,
            f"greedy_{kind}backtest_served_share": served[kind, _GREEDY] / count,
            f"as_it_was_{kind}backtest_served_share": served[kind, _WAS] / count,
        }
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    parser.add_argument("--forecast", action="store_true", help="let the plan forecast demand")
    given = parser.parse_args()
    figures = backtest_figures(forecast=given.forecast)
    if given.json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:44}{value:10.4f}")


if __name__ == "__main__":
    main()
