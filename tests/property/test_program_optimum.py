"""The least value of a small integer program is the one that trying all values finds.

With few columns at most the relaxation and its reduced costs decide what CP-SAT is given.
"""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.placement.program import Program
from optimizer.placement.solver import minimise
from optimizer.search import Search
from schemas.plans.plan import SolverStatus


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw up to six columns and four rows."""
    program = Program()
    count = draw(st.integers(1, 6))
    for _ in range(count):
        program.column(draw(st.integers(0, 2)), draw(st.integers(-9, 20)))
    for _ in range(draw(st.integers(0, 4))):
        columns = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))
        factors = [draw(st.integers(-3, 3)) for _ in columns]
        lowest = draw(st.none() | st.integers(-4, 4))
        highest = draw(st.none() | st.integers(lowest if lowest is not None else -4, 6))
        program.row(columns, factors, lowest, highest)
    return program


@given(programs(), st.integers(1, 7), st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_proven_holds_and_all_columns_give_the_least_value(
    program: Program, columns_at_most: int, data: st.DataObject
) -> None:
    start = [data.draw(st.integers(0, upper)) for upper in program.upper]
    allowed = [
        program.value(values)
        for values in product(*(range(upper + 1) for upper in program.upper))
        if program.allows(values)
    ]
    answer = minimise(program, start, Search(seed=1, time_limit_s=10), columns_at_most)
    if not allowed:
        assert answer.status is SolverStatus.INFEASIBLE
        return
    assert answer.values is not None
    assert program.allows(answer.values)
    cost = program.value(answer.values)
    assert answer.bound <= min(allowed) <= cost
    assert (answer.status is SolverStatus.OPTIMAL) == (answer.bound == cost)
    if columns_at_most >= len(program.upper):
        assert answer.status is SolverStatus.OPTIMAL
    if program.allows(start):
        assert cost <= program.value(start)
