"""With empty drives the fewest vehicles are round trips less a largest matching, found anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optimizer.assignment.solve import assign
from optimizer.search import Search
from schemas.plans.assignment import AssignmentInputs, EmptyDrive, WantedRoundTrip
from tests.property.examples import examples

MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
CHANGEOVER_MIN = 5
DEPOTS = ("m/a", "m/b", "m/c")


@st.composite
def moved(draw: st.DrawFn, *, alike: bool) -> AssignmentInputs:
    """Draw round trips at three depots; alike: every empty drive takes equally long."""
    length = draw(st.sampled_from([0, 10, 25, 60]))
    drives = [
        EmptyDrive(
            from_depot_id=name,
            to_depot_id=other,
            duration_s=60 * (length if alike else draw(st.sampled_from([0, 5, 20, 45, 90]))),
        )
        for name in DEPOTS
        for other in DEPOTS
        if name != other and (alike or draw(st.integers(0, 3)))
    ]
    assume(drives)
    trips = []
    for number in range(draw(st.integers(1, 14))):
        start = draw(st.integers(0, 60))
        trips.append(
            WantedRoundTrip(
                round_trip_id=f"t{number}",
                depot_id=draw(st.sampled_from(DEPOTS)),
                started_at=MONDAY + timedelta(minutes=5 * start),
                ended_at=MONDAY + timedelta(minutes=5 * (start + draw(st.integers(1, 12)))),
                distance_m=1_000.0,
                vehicle_class="car",
            )
        )
    return AssignmentInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        changeover_s=60.0 * CHANGEOVER_MIN,
        vehicles=(),
        round_trips=tuple(trips),
        empty_drives=tuple(drives),
    )


def drive_min(inputs: AssignmentInputs) -> dict[tuple[str, str], float]:
    """Return the quickest empty drives, by way of the third depot where that is quicker."""
    direct = {(name, name): 0.0 for name in DEPOTS}
    for empty_drive in inputs.empty_drives:
        direct[empty_drive.from_depot_id, empty_drive.to_depot_id] = empty_drive.duration_s / 60
    never = float("inf")
    return {
        (name, other): min(
            direct.get((name, via), never) + direct.get((via, other), never) for via in DEPOTS
        )
        for name in DEPOTS
        for other in DEPOTS
    }


def fewest_by_augmenting(inputs: AssignmentInputs) -> int:
    """Match each round trip with one after it along augmenting paths (Kuhn 1955)."""
    trips, drives = inputs.round_trips, drive_min(inputs)
    after = [
        [
            place
            for place, later in enumerate(trips)
            if later.started_at - trip.ended_at
            >= timedelta(minutes=min(1e6, drives[trip.depot_id, later.depot_id] + CHANGEOVER_MIN))
        ]
        for trip in trips
    ]
    before: dict[int, int] = {}

    def matched(number: int, seen: set[int]) -> bool:
        for later in after[number]:
            if later not in seen:
                seen.add(later)
                if later not in before or matched(before[later], seen):
                    before[later] = number
                    return True
        return False

    return len(trips) - sum(matched(index, set()) for index in range(len(trips)))


def assert_fewest(inputs: AssignmentInputs) -> None:
    plan = assign(inputs, Search(seed=1, time_limit_s=1))
    (fewest_vehicles,) = plan.repositioning
    assert fewest_vehicles.fewest_vehicles == fewest_by_augmenting(inputs)
    assert fewest_vehicles.fewest_vehicles <= fewest_vehicles.peak_overlaps
    assert fewest_vehicles.peak_overlaps == sum(depot.peak_overlap for depot in plan.depots)
    assert fewest_vehicles.round_trips == len(inputs.round_trips)


@given(moved(alike=True))
@settings(max_examples=examples(200), deadline=None)
def test_a_sweep_finds_the_fewest_where_all_empty_drives_are_as_long(
    inputs: AssignmentInputs,
) -> None:
    assert_fewest(inputs)


@given(moved(alike=False))
@settings(max_examples=examples(200), deadline=None)
def test_a_flow_finds_the_fewest_where_empty_drives_differ_or_lack(
    inputs: AssignmentInputs,
) -> None:
    assert_fewest(inputs)
