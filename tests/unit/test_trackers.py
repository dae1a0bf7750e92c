"""Which vehicle a tracker was in: by the instant of the fix, and what may be told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.timeline.validation import Arrival, resolve
from processors.trackers import (
    ReassignedSpan,
    Tracker,
    TrackerRefusedError,
    assigned,
    changes,
    released,
)
from schemas.events.fix import Fix
from schemas.fleet.master_data import Assignment

ID, CAR, VAN = "syddjurs/352093", "syddjurs/car", "syddjurs/van"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def day(number: int) -> datetime:
    return datetime(2026, 3, number, 12, tzinfo=UTC)


IN_CAR = Assignment(CAR, day(3), day(5))
IN_VAN = Assignment(VAN, day(8), None)


def test_until_its_first_assignment_an_id_means_the_vehicle_of_that_id() -> None:
    assert Tracker(ID).vehicle_at(day(1)) == ID
    assert Tracker(ID, (IN_CAR,)).vehicle_at(day(3) - MICROSECOND) == ID


@pytest.mark.parametrize(
    ("at", "vehicle_id"),
    [
        (day(3), CAR),
        (day(5) - MICROSECOND, CAR),
        (day(5), None),
        (day(8) - MICROSECOND, None),
        (day(8), VAN),
        (day(30), VAN),
    ],
)
def test_an_assignment_holds_from_its_beginning_until_before_its_end(
    at: datetime, vehicle_id: str | None
) -> None:
    assert Tracker(ID, (IN_CAR, IN_VAN)).vehicle_at(at) == vehicle_id


def test_what_is_sent_from_no_vehicle_is_said_with_tracker_instant_and_remedy() -> None:
    reason, sentence = Tracker(ID, (IN_CAR, IN_VAN)).unassigned(day(6))
    assert reason == "unassigned-tracker"
    for word in (ID, "2026-03-06T12:00:00+00:00", f"left {CAR} at 2026-03-05", "tracker assign"):
        assert word in sentence


@given(
    marks=st.lists(st.tuples(st.integers(0, 40), st.sampled_from((CAR, VAN, None))), max_size=6),
    instants=st.lists(st.integers(-1, 41), max_size=20),
)
def test_many_instants_at_once_say_the_same(
    marks: list[tuple[int, str | None]], instants: list[int]
) -> None:
    assignments: tuple[Assignment, ...] = ()
    for hour, vehicle_id in marks:
        at = EPOCH + timedelta(hours=hour, microseconds=1)
        try:
            if vehicle_id is None:
                assignments = released(ID, assignments, at)
            else:
                assignments = assigned(ID, assignments, vehicle_id, at)
        except TrackerRefusedError:
            continue
    tracker = Tracker(ID, assignments)
    moments = [EPOCH + timedelta(hours=hour, microseconds=hour % 3) for hour in instants]
    us = np.array([(at - EPOCH) // MICROSECOND for at in moments], np.int64)
    assert [tracker.vehicles[place] for place in tracker.places_at(us).tolist()] == [
        next(
            (
                assignment.vehicle_id
                for assignment in assignments
                if assignment.since <= at < (assignment.until or day(30))
            ),
            ID if not assignments or at < assignments[0].since else None,
        )
        for at in moments
    ]


def test_only_where_a_tracker_was_elsewhere_something_changes() -> None:
    before, after = Tracker(ID, (IN_CAR, IN_VAN)), Tracker(ID, (IN_CAR._replace(until=day(6)),))
    assert changes(before, after) == (
        ReassignedSpan(day(5), day(6), None, CAR),
        ReassignedSpan(day(8), None, VAN, None),
    )
    assert changes(Tracker(ID), Tracker(ID, (IN_VAN,))) == (ReassignedSpan(day(8), None, ID, VAN),)
    assert changes(Tracker(CAR), Tracker(CAR, (IN_CAR,))) == (
        ReassignedSpan(day(5), None, CAR, None),
    )
    assert changes(before, before) == ()


def test_being_assigned_ends_the_assignment_that_is_open() -> None:
    entries = assigned(ID, (), CAR, day(3))
    assert entries == (Assignment(CAR, day(3), None),)
    assert assigned(ID, entries, VAN, day(8)) == (Assignment(CAR, day(3), day(8)), IN_VAN)
    assert assigned(ID, entries, VAN, day(3)) == (Assignment(VAN, day(3), None),)  # it was the van
    assert assigned(ID, (IN_CAR,), VAN, day(8)) == (IN_CAR, IN_VAN)
    assert assigned(ID, (IN_CAR,), VAN, day(5)) == (IN_CAR, Assignment(VAN, day(5), None))


@pytest.mark.parametrize(
    ("assignments", "vehicle_id", "since", "says"),
    [
        ((), "favrskov/car", day(3), "are of different municipalities"),
        ((IN_VAN,), CAR, day(7), r"is in syddjurs/van since 2026-03-08.* which overlaps; give an"),
        ((IN_CAR,), VAN, day(4), r"since 2026-03-03.* until 2026-03-05.* overlaps; give .*03-05"),
        ((IN_VAN,), VAN, day(9), "is in syddjurs/van since 2026-03-08.* already; nothing to do"),
    ],
)
def test_what_cannot_be_assigned_is_refused_in_words(
    assignments: tuple[Assignment, ...], vehicle_id: str, since: datetime, says: str
) -> None:
    with pytest.raises(TrackerRefusedError, match=says):
        assigned(ID, assignments, vehicle_id, since)


def test_being_released_ends_the_last_assignment_or_takes_it_back() -> None:
    assert released(ID, (IN_CAR, IN_VAN), day(9)) == (IN_CAR, IN_VAN._replace(until=day(9)))
    assert released(ID, (IN_CAR, IN_VAN), day(8)) == (IN_CAR,)
    assert released(ID, (IN_CAR,), day(4)) == (IN_CAR._replace(until=day(4)),)
    assert released(ID, (IN_CAR,), day(3)) == ()


@pytest.mark.parametrize(
    ("assignments", "until", "says"),
    [
        ((), day(3), "was never assigned: its id means the vehicle of that id"),
        (
            (IN_VAN,),
            day(7),
            r"in syddjurs/van since .*; give an instant from 2026-03-08\S* on$",
        ),
        ((IN_CAR,), day(5), r"until 2026-03-05\S*; give an instant from .* and before 2026-03-05"),
    ],
)
def test_what_cannot_be_released_is_refused_in_words(
    assignments: tuple[Assignment, ...], until: datetime, says: str
) -> None:
    with pytest.raises(TrackerRefusedError, match=says):
        released(ID, assignments, until)


def test_of_two_trackers_that_say_the_same_the_smaller_id_counts_in_any_order() -> None:
    def sent(tracker_id: str, lat: float, minute: int) -> Arrival:
        fix = Fix(vehicle_id=tracker_id, recorded_at=day(3), lat=lat, lon=10.4)
        return Arrival(fix, day(4) + timedelta(minutes=minute))

    first, second, other = sent("a/1", 56.3, 9), sent("a/2", 56.3, 1), sent("a/3", 56.2, 5)
    for order in ((first, second), (second, first)):
        assert resolve(order) == ({day(3): first}, [second])
    for three in ((first, second, other), (other, second, first), (second, other, first)):
        counting, lost = resolve(three)
        assert counting == {day(3): other}  # what is said comes before who says it
        assert sorted(arrival.fix.vehicle_id for arrival in lost) == ["a/1", "a/2"]
