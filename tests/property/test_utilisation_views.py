"""Utilisation and occupancy as the database tells them, against a count of minutes, one by one."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from stream.calendars import CalendarKeeper
from tests.sample_fleet import Connection
from tests.stream_harness import open_pool

ZONE = ZoneInfo("Europe/Copenhagen")
MINUTE = timedelta(minutes=1)
# Around both changes of the clock, and over Easter.
STARTS = [datetime(2025, month, day, tzinfo=UTC) for month, day in ((3, 28), (10, 24), (4, 16))]
HOLIDAYS = {date(2025, 4, day) for day in (17, 18, 20, 21)}
CALENDAR = {
    "exceptions": [
        {
            "vehicle_types": ["van"],
            "works_on_holidays": True,
            "shifts": [
                {
                    "weekdays": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
                    "starts": "22:00",
                    "ends": "06:00",
                }
            ],
        }
    ]
}
DEPOTS = ("a/d1", "a/d2")
VEHICLES = {"a/car-1": "car", "a/car-2": "car", "a/van": "van"}

Minutes = tuple[int, int]
"""From a minute until before another."""


@dataclass(frozen=True)
class Outing:
    """A round trip: on the way out, on a visit, on the way back."""

    depot: str | None
    out: Minutes
    back: Minutes

    @property
    def whole(self) -> Minutes:
        """From leaving until back."""
        return self.out[0], self.back[1]


@dataclass
class Story:
    """What became of a vehicle, in minutes from a start: first and last fix, and between."""

    first: int
    last: int = 0
    outings: list[Outing] = field(default_factory=list)
    is_out: bool = False
    """The last outing has not come back."""
    departs: tuple[str | None, int] | None = None
    """From where, and when, a trip has begun that still goes on."""

    def trips(self) -> list[Minutes]:
        """Return the trips, an open one last."""
        ended = [part for outing in self.outings for part in (outing.out, outing.back)]
        return [*ended, (self.departs[1], self.last)] if self.departs else ended

    def away(self) -> list[tuple[str | None, Minutes]]:
        """Return from which depot the vehicle was away, and when."""
        entry = [(outing.depot, outing.whole) for outing in self.outings]
        unseen_return = self.departs is not None and self.departs[0] is not None
        if self.is_out and not unseen_return:
            depot, (began, _) = entry[-1]
            entry[-1] = (depot, (began, self.last))
        if self.departs and (unseen_return or not self.is_out):
            entry.append((self.departs[0], (self.departs[1], self.last)))
        return entry


@st.composite
def stories(draw: st.DrawFn) -> Story:
    story = Story(first=draw(st.integers(0, 1500)))
    at = story.first
    depots = st.sampled_from([*DEPOTS, None])
    for _ in range(draw(st.integers(0, 5))):
        pause, *lengths = (draw(st.integers(least, 700)) for least in (0, 1, 0, 0))
        began = at + pause
        arrived = began + lengths[0]
        left = arrived + lengths[1]
        at = left + lengths[2]
        story.outings.append(Outing(draw(depots), (began, arrived), (left, at)))
    story.is_out = bool(story.outings) and draw(st.booleans())
    if draw(st.booleans()):
        at += draw(st.integers(1, 90))
        story.departs = (draw(depots), at)
    story.last = at + draw(st.integers(1, 900))
    return story


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    """Yield a database with a municipality, its vehicles, and its calendar for 2025 and on."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute(
            "INSERT INTO municipality (municipality_id, name, calendar) VALUES ('a', 'A', %s)",
            [Jsonb(CALENDAR)],
        )
        for depot in DEPOTS:
            connection.execute(
                "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
                "VALUES (%s, 'a', 'D', 56.3, 10.5, 9)",
                [depot],
            )
        for vehicle, vehicle_type in VEHICLES.items():
            connection.execute(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, "
                "home_depot_id, registered) VALUES (%s, 'a', 'V', %s, 'a/d1', %s)",
                [vehicle, vehicle_type, vehicle != "a/car-2"],
            )
        connection.execute(
            "INSERT INTO vehicle_state VALUES ('a/van', 1, '2025-01-05', '2025-01-05', '{}')"
        )

        async def keep() -> None:
            async with open_pool(database_url) as pool:
                assert await CalendarKeeper().look(pool) == 1

        asyncio.run(keep())
        yield connection


def write_stories(connection: Connection, start: datetime, story_of: dict[str, Story]) -> None:
    """Put rows in place of what an earlier example left."""
    connection.execute("TRUNCATE vehicle_state, trip, round_trip, usage_hour")

    def at(minute: int) -> datetime:
        return start + minute * MINUTE

    for vehicle, story in story_of.items():
        connection.execute(
            "INSERT INTO vehicle_state VALUES (%s, 1, %s, %s, '{}')",
            [vehicle, at(story.first), at(story.last)],
        )
        for trip in story.trips():
            is_open = story.departs is not None and trip[0] == story.departs[1]
            if trip[0] == trip[1]:
                continue  # the key of the next one
            connection.execute(
                "INSERT INTO trip VALUES (%s, %s, %s, 0, 0, 0, 0, 0, 0, 0, %s, NULL, %s)",
                [
                    vehicle,
                    at(trip[0]),
                    at(trip[1]),
                    story.departs[0] if story.departs and is_open else None,
                    is_open,
                ],
            )
        for number, outing in enumerate(story.outings):
            is_open = story.is_out and number == len(story.outings) - 1
            connection.execute(
                "INSERT INTO round_trip VALUES (%s, %s, %s, 'open', %s, NULL, 0, 1, %s)",
                [vehicle, at(outing.whole[0]), at(outing.whole[1]), outing.depot, is_open],
            )
        for hour in range(story.first // 60, story.last // 60 + 1):
            connection.execute(
                "INSERT INTO usage_hour VALUES (%s, %s, %s, %s, 0, 0, %s, %s, 0, 0, 0)",
                [vehicle, at(60 * hour), hour % 7, hour % 3, 100 * hour, hour % 2],
            )


def rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(query).fetchall()


def is_available(vehicle_type: str, wall: datetime) -> bool:
    """Say what the calendar above says, of a clock on the wall."""
    if vehicle_type == "van":
        return wall.hour >= 22 or wall.hour < 6
    return wall.weekday() < 5 and 7 <= wall.hour < 16 and wall.date() not in HOLIDAYS


def within(minute: int, parts: list[Minutes]) -> bool:
    return any(began <= minute < ended for began, ended in parts)


StoryOf = dict[str, Story]
Promise = Callable[[Connection, datetime, StoryOf], None]


def of_any_story(promise: Promise) -> Promise:
    """Try a promise on stories that Hypothesis thinks of."""
    tried = given(
        start=st.sampled_from(STARTS),
        story_of=st.fixed_dictionaries(dict.fromkeys(VEHICLES, stories())),
    )(promise)
    return hypothesis_settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )(tried)


def local_date(at: datetime) -> date:
    return at.astimezone(ZONE).date()


def walls_of(start: datetime, story_of: StoryOf) -> list[datetime]:
    """Return what the clock on the wall shows, minute by minute, until the last fix of all."""
    until = max(story.last for story in story_of.values())
    return [(start + minute * MINUTE).astimezone(ZONE) for minute in range(until)]


@of_any_story
def test_a_vehicles_day_is_what_counting_its_minutes_tells(
    database: Connection, start: datetime, story_of: StoryOf
) -> None:
    write_stories(database, start, story_of)
    expected: dict[tuple[str, date], Counter[str]] = {}
    walls = walls_of(start, story_of)
    for vehicle, story in story_of.items():
        trips, away = story.trips(), [part for _, part in story.away()]
        for minute in range(story.first, len(walls)):
            sums = expected.setdefault((vehicle, walls[minute].date()), Counter())
            available = is_available(VEHICLES[vehicle], walls[minute])
            used, out = within(minute, trips), within(minute, away)
            sums["available_s"] += 60 * available
            sums["used_s"] += 60 * used
            sums["away_s"] += 60 * out
            sums["used_available_s"] += 60 * (available and used)
            sums["away_available_s"] += 60 * (available and out)
        for hour in range(story.first // 60, story.last // 60 + 1):
            sums = expected.get((vehicle, local_date(start + hour * 60 * MINUTE)), Counter())
            sums["driving_s"] += hour % 7
            sums["idling_s"] += hour % 3
            sums["distance_m"] += 100 * hour
            sums["trip_count"] += hour % 2
    entries = rows(database, "SELECT * FROM utilisation_day")
    assert {(row["vehicle_id"], row["local_day"]) for row in entries} == set(expected)
    for row in entries:
        sums = expected[row["vehicle_id"], row["local_day"]]
        assert {name: row[name] for name in sums} == sums
        assert row["is_used"] == (sums["trip_count"] > 0)
        midnight = row["day"].astimezone(ZONE).replace(tzinfo=None)
        assert midnight == datetime.combine(row["local_day"], time())


@of_any_story
def test_weeks_and_months_are_the_sums_of_their_days(
    database: Connection, start: datetime, story_of: StoryOf
) -> None:
    write_stories(database, start, story_of)
    days = rows(database, "SELECT * FROM utilisation_day")
    names = [name for name in days[0] if name.endswith("_s")] + ["distance_m", "trip_count"]
    for bucket in ("week", "month"):
        totals: defaultdict[tuple[str, date], Counter[str]] = defaultdict(Counter)
        for day in days:
            on = day["local_day"]
            first = on.replace(day=1) if bucket == "month" else on - timedelta(days=on.weekday())
            totals[day["vehicle_id"], first].update({name: day[name] for name in names})
            totals[day["vehicle_id"], first]["days_used"] += day["is_used"]
            totals[day["vehicle_id"], first]["days_available"] += day["available_s"] > 0
        entries = rows(database, f"SELECT * FROM utilisation_{bucket}")
        assert {
            (row["vehicle_id"], local_date(row[bucket])): {
                name: row[name] for name in (*names, "days_used", "days_available")
            }
            for row in entries
        } == totals


def out_by_minute(start: datetime, story_of: StoryOf) -> dict[tuple[str, date], dict[int, int]]:
    """Count the vehicles that are out of each depot, day by day and minute by minute."""
    walls = walls_of(start, story_of)
    since = min(story.first for story in story_of.values())
    counts: defaultdict[tuple[str, date], dict[int, int]] = defaultdict(dict)
    for depot in DEPOTS:
        gone = [
            [part for left, part in story.away() if left == depot] for story in story_of.values()
        ]
        for minute in range(since, len(walls)):
            count = sum(within(minute, parts) for parts in gone)
            counts[depot, walls[minute].date()][minute] = count
    return counts


@of_any_story
def test_occupancy_holds_at_every_minute(
    database: Connection, start: datetime, story_of: StoryOf
) -> None:
    write_stories(database, start, story_of)
    since = min(story.first for story in story_of.values())
    counted: defaultdict[tuple[str, date], dict[int, int]] = defaultdict(dict)
    for step in rows(database, "SELECT * FROM depot_occupancy"):
        minutes = counted[step["depot_id"], local_date(step["day"])]
        for minute in range((step["at"] - start) // MINUTE, (step["until"] - start) // MINUTE):
            assert minute not in minutes, "two steps at one time"
            minutes[minute] = step["out_count"]
    for minutes in counted.values():
        for minute in [minute for minute in minutes if minute < since]:
            assert minutes.pop(minute) == 0, "out before the first fix"
    assert counted == out_by_minute(start, story_of)


@of_any_story
def test_the_peak_of_a_day_is_the_most_that_were_out_and_when_first(
    database: Connection, start: datetime, story_of: StoryOf
) -> None:
    write_stories(database, start, story_of)
    counts = out_by_minute(start, story_of)
    entries = rows(database, "SELECT * FROM depot_occupancy_day")
    assert {(row["depot_id"], local_date(row["day"])) for row in entries} == set(counts)
    for row in entries:
        minutes = counts[row["depot_id"], local_date(row["day"])]
        peak = max(minutes.values())
        assert row["peak_out"] == peak
        if peak:
            first = min(minute for minute, count in minutes.items() if count == peak)
            assert row["peak_at"] == start + first * MINUTE
        # The car that nobody has entered is out, but it is not supply.
        assert row["supply"] == (2 if row["depot_id"] == "a/d1" else 0)


def test_a_vehicle_that_comes_back_as_another_leaves_was_not_out_at_once_with_it(
    database: Connection,
) -> None:
    write_stories(
        database,
        STARTS[0],
        {
            "a/car-1": Story(0, 3000, [Outing("a/d1", (60, 70), (80, 90))]),
            "a/car-2": Story(0, 3000, [Outing("a/d1", (90, 100), (110, 120))]),
            "a/van": Story(0, 3000, [Outing("a/d1", (110, 115), (116, 118))]),
        },
    )
    [peak, *_] = rows(
        database, "SELECT * FROM depot_occupancy_day WHERE depot_id = 'a/d1' ORDER BY day"
    )
    assert (peak["peak_out"], peak["peak_at"]) == (2, STARTS[0] + 110 * MINUTE)


def test_a_vehicle_out_overnight_is_out_at_midnight(database: Connection) -> None:
    story = Story(0, 6000, [Outing("a/d2", (600, 610), (4000, 4010))])
    write_stories(database, STARTS[0], {"a/car-1": story})
    peaks = rows(database, "SELECT * FROM depot_occupancy_day WHERE depot_id = 'a/d2' ORDER BY day")
    assert [row["peak_out"] for row in peaks] == [1, 1, 1, 0, 0]
    assert peaks[1]["peak_at"] == peaks[1]["day"]
    assert peaks[1]["mean_out"] == 1
