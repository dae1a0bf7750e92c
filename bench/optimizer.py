"""The optimizer's cores beside others', in one run: sites, round trips, vehicles, demand, plans.

`python -m bench.optimizer` prints a table, with `--json` one flat object. What others make of the
same problems stands behind their names: `spopt_`, `first_come_`, `as_it_stands_`, `greedy_`,
`last_week_`. A part whose data are not there says so and has no figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bench.assignment import assignment_figures
from bench.backtest import backtest_figures
from bench.composition import composition_figures
from bench.forecast import forecast_figures
from bench.location import facility_figures, p_median_figures
from bench.placement import placement_figures
from bench.routes import run as routes_figures

PARTS: Final[Mapping[str, Callable[[], dict[str, float]]]] = {
    "p-median": p_median_figures,
    "facility location": facility_figures,
    "assignment": assignment_figures,
    "placement": placement_figures,
    "routes": routes_figures,
    "back-test": backtest_figures,
    "composition": composition_figures,
    "forecast": forecast_figures,
}


def run() -> dict[str, float]:
    """Return the figures of all parts."""
    figures: dict[str, float] = {}
    for name, part in PARTS.items():
        print(name, file=sys.stderr, flush=True)
        with _said_beside():
            figures |= part()
    return figures


@contextlib.contextmanager
def _said_beside() -> Iterator[None]:
    """Send what is printed to stderr, also by HiGHS, which does not ask Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    as_json = parser.parse_args().json
    figures = run()
    if as_json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:40}{value:12.4f}")


if __name__ == "__main__":
    main()
