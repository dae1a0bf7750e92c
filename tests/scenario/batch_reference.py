"""The rules once more, slow and plain: a vehicle's whole history at once.

Written apart from `processors`, so that both are unlikely to share a mistake. Where the fold keeps
a state and takes one fix at a time, this looks at the whole list as often as it likes: first legs,
then the ignition, then trips, then states. It is what the fold is held against.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import groupby, pairwise, takewhile
from typing import Final

from pyproj import Geod

from schemas.events.fix import Fix

STANDSTILL_MPS: Final = 1 / 3.6
NOISE_M: Final = 25.0
NOISE_MPS: Final = 2.0
IGNITION_NOISE_S: Final = 30.0
TRIP_START_M: Final = 200.0
STOP_S: Final = 180.0
REST_M: Final = 50.0
OPEN_S: Final = 900.0
GAP_S: Final = 3600.0
MAX_MPS: Final = 200 / 3.6
ODOMETER_TOLERANCE: Final = 0.3
ODOMETER_SLACK_M: Final = 50.0
MIN_UNSEEN_M: Final = 2000.0

Place = tuple[float, float]
_WGS84: Final = Geod(ellps="WGS84")


@dataclass
class ReferenceLeg:
    """Between two kept fixes. `engine` is the ignition carried to its start, then settled.

    `readings` are the odometer's at both ends. `private` if either fix is: then its places are
    those where the vehicle was last seen. `doubtful` if engine and speed
    say that it stood, whatever the positions do.
    """

    started_at: datetime
    ended_at: datetime
    start: Place
    end: Place
    distance_m: float
    moving: bool
    engine: bool | None
    readings: tuple[float | None, float | None] = (None, None)
    private: bool = False
    doubtful: bool = False

    @property
    def lasts_s(self) -> float:
        """Length in seconds."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class Phase:
    """A stay or a trip: legs `first` to before `after`, decided by the legs before `decided_by`."""

    first: int
    after: int
    decided_by: int
    is_trip: bool = False
    is_open: bool = False


@dataclass(frozen=True)
class ReferenceSegment:
    """A maximal interval of one state."""

    state: str
    started_at: datetime
    ended_at: datetime
    distance_m: float
    moved: bool = False
    private: bool = False


@dataclass(frozen=True)
class ReferenceTrip:
    """A trip; an open one goes on after the last fix."""

    started_at: datetime
    ended_at: datetime
    distance_m: float
    driving: timedelta
    idling: timedelta
    is_open: bool
    source: str
    gps_m: float
    odometer_m: float | None
    motion_only: bool


@dataclass
class Reference:
    """What a vehicle's fixes amount to."""

    segments: list[ReferenceSegment] = field(default_factory=list)
    trips: list[ReferenceTrip] = field(default_factory=list)
    refused: list[datetime] = field(default_factory=list)

    def total(self, state: str) -> timedelta:
        """Return the time in a state."""
        return sum(
            (
                segment.ended_at - segment.started_at
                for segment in self.segments
                if segment.state == state
            ),
            timedelta(),
        )

    @property
    def driven_m(self) -> float:
        """Metres driven."""
        return sum(segment.distance_m for segment in self.segments if segment.state == "driving")


def compute(fixes: Iterable[Fix]) -> Reference:
    """Return segments and trips of one vehicle from all of its fixes, in any order.

    A run of another ignition is measured within its stay or trip, by what is known when that is
    told to be over, since its states are then final.

    Raises `ValueError` for two different fixes at one instant: which of them counts is not decided
    here.
    """
    result = Reference()
    ordered = _in_order(fixes)
    kept = _possible(ordered, result)
    legs = _legs(kept)
    if not legs:
        return result
    anchor = legs[0].start
    engine = legs[0].engine
    pieces: list[ReferenceSegment] = []
    for unknown, group in groupby(legs, key=lambda leg: leg.private or leg.lasts_s > GAP_S):
        stretch = list(group)
        if unknown:
            for gap in stretch:
                pieces.append(_across(gap))
                if metres_between(anchor, gap.end) > TRIP_START_M:
                    anchor = gap.end
                engine = gap.engine
            continue
        at_end = stretch[-1].ended_at == legs[-1].ended_at
        phases, anchor = _find_phases(stretch, anchor, open_at_end=at_end)
        _settle_ignition(stretch, phases, engine)
        for phase in phases:
            part = stretch[phase.first : phase.after]
            if phase.is_trip:
                pieces += _trip_pieces(part)
                result.trips.append(_trip(part, is_open=phase.is_open))
            else:
                pieces += [_standing(leg) for leg in part]
    result.segments = _joined(pieces)
    return result


def _in_order(fixes: Iterable[Fix]) -> list[Fix]:
    ordered = sorted(fixes, key=lambda fix: fix.recorded_at)
    unique: list[Fix] = []
    for fix in ordered:
        if unique and unique[-1].recorded_at == fix.recorded_at:
            if unique[-1] != fix:
                raise ValueError(f"two different fixes at {fix.recorded_at}")
            continue
        unique.append(fix)
    return unique


def _possible(ordered: Sequence[Fix], result: Reference) -> list[Fix]:
    """Leave out what no vehicle could have reached from where it was seen last.

    And what is in private mode before the vehicle was seen at all, and a position that is said
    again after a silence, but is stale: then also what came between it and the two that tell.
    """
    kept: list[Fix] = []
    resume = 0
    for index, fix in enumerate(ordered):
        if index < resume:
            result.refused.append(fix.recorded_at)
            continue
        if kept and _says_again(kept[-1], fix):
            first_true = _outlawed_by(ordered, index, kept[-1])
            if first_true is not None:
                resume = first_true
                result.refused.append(fix.recorded_at)
                continue
        seen = next((fix for fix in reversed(kept) if place_of(fix)), None)
        place = place_of(fix)
        if place is None and seen is None:
            result.refused.append(fix.recorded_at)
            continue
        if seen is not None and _strays(seen, fix):
            result.refused.append(fix.recorded_at)
            continue
        kept.append(fix)
    return kept


def _says_again(before: Fix, fix: Fix) -> bool:
    silence = (fix.recorded_at - before.recorded_at).total_seconds()
    return place_of(fix) is not None and place_of(fix) == place_of(before) and silence >= STOP_S


def _outlawed_by(ordered: Sequence[Fix], repeat: int, before: Fix) -> int | None:
    """Return the first of two fixes in a row that show a repeat to be stale.

    Neither can be reached from it, nor can what comes before them, but the first one from where
    the vehicle was before the silence, and the second one from the first.
    """
    after = (ordered[index] for index in range(repeat + 1, len(ordered)))
    beyond = list(takewhile(lambda fix: _strays(ordered[repeat], fix), after))
    for index, (fix, next_one) in enumerate(pairwise(beyond), start=repeat + 1):
        if not _strays(before, fix) and not _strays(fix, next_one):
            return index
    return None


def _strays(start: Fix, end: Fix) -> bool:
    """Return whether no vehicle comes from one fix to the other in time."""
    places = place_of(start), place_of(end)
    if places[0] is None or places[1] is None:
        return False
    seconds = (end.recorded_at - start.recorded_at).total_seconds()
    return metres_between(places[0], places[1]) > MAX_MPS * seconds


def _legs(kept: Sequence[Fix]) -> list[ReferenceLeg]:
    legs = []
    ignition: bool | None = None
    place: Place = (0.0, 0.0)
    for before, after in pairwise(kept):
        if before.ignition is not None:
            ignition = before.ignition
        place = place_of(before) or place
        private = place_of(before) is None or place_of(after) is None
        end = place_of(after) or place
        metres = metres_between(place, end)
        seconds = (after.recorded_at - before.recorded_at).total_seconds()
        legs.append(
            ReferenceLeg(
                before.recorded_at,
                after.recorded_at,
                place,
                end,
                metres,
                _moves(metres, seconds, before.speed_mps, after.speed_mps),
                ignition,
                (before.odometer_m, after.odometer_m),
                private,
                ignition is False
                and after.ignition is not True
                and (after.speed_mps or 0.0) < STANDSTILL_MPS,
            )
        )
    return legs


def _moves(metres: float, seconds: float, *speeds: float | None) -> bool:
    if metres > NOISE_M:
        return metres >= STANDSTILL_MPS * seconds
    entries = {speed >= STANDSTILL_MPS for speed in speeds if speed is not None}
    if len(entries) == 1:
        return True in entries
    return metres >= NOISE_MPS * seconds  # not told, or it stopped or started on the way


def _settle_ignition(
    stretch: Sequence[ReferenceLeg],
    phases: Sequence[Phase],
    before: bool | None,  # noqa: FBT001 - the ignition
) -> None:
    """Ignore runs of another ignition shorter than 30 s, the last one included."""
    current = before
    raw = [leg.engine for leg in stretch]
    for phase in phases:
        settled: list[bool | None] = []
        at_start = current
        values = range(phase.first, phase.decided_by)
        for ignition, group in groupby(values, key=lambda index: raw[index]):
            run = list(group)
            lasts = stretch[run[-1]].ended_at - stretch[run[0]].started_at
            if ignition == current or current is None or lasts.total_seconds() >= IGNITION_NOISE_S:
                current = ignition
            settled += [current] * len(run)
        current = at_start  # what was known beyond the phase is told again by the next one
        for index in range(phase.first, phase.after):
            stretch[index].engine = current = settled[index - phase.first]


def _find_phases(
    stretch: Sequence[ReferenceLeg], anchor: Place, *, open_at_end: bool
) -> tuple[list[Phase], Place]:
    """Return stays and trips in turn, and the standstill at the end."""
    phases: list[Phase] = []
    end = len(stretch)
    stay = free = number = 0
    while True:
        far, doubted = None, False
        for index in range(number, end):
            if metres_between(anchor, stretch[index].end) > TRIP_START_M:
                doubted = not doubted and stretch[index].doubtful
                if doubted:
                    continue
                far = index
                break
            doubted = False
            anchor, free = _look_on(stretch, index, stay, anchor, free)
        if far is None:
            phases.append(Phase(stay, end, end))
            return phases, anchor
        first = _left(stretch, far, stay, anchor, free)
        phases.append(Phase(stay, first, far + 1))
        stop = _find_stop(stretch, first, far)
        if stop is None and open_at_end:
            phases.append(Phase(first, end, end, is_trip=True, is_open=True))
            return phases, anchor
        if stop is None:
            candidate = _candidate(stretch, first + 1, end - 1)
            stop = _at_rest(stretch, candidate, end - 1, otherwise=end), end - 1
        after, confirmed = stop
        phases.append(Phase(first, after, confirmed + 1, is_trip=True))
        anchor = stretch[after - 1].end
        stay = free = after
        if after <= confirmed:
            anchor, free = _look_on(stretch, confirmed, stay, anchor, free)
        number = confirmed + 1


def _look_on(
    stretch: Sequence[ReferenceLeg], index: int, stay: int, anchor: Place, free: int
) -> tuple[Place, int]:
    """Return the place of a stay, and the first leg that may still be part of a departure."""
    leg = stretch[index]
    away = metres_between(anchor, leg.end) > REST_M
    if not leg.moving:
        rest = index
        while rest > free and not stretch[rest - 1].moving:
            rest -= 1
        rested = leg.ended_at - stretch[rest].started_at
        if not away:
            return anchor, index + 1
        if rested.total_seconds() >= STOP_S:
            return leg.end, index + 1
    young = [
        number
        for number in range(index + 1)
        if (leg.ended_at - stretch[number].started_at).total_seconds() <= OPEN_S
    ]
    oldest = young[0] if young else index + 1
    return anchor, max(_left(stretch, index, stay, anchor, free), oldest)


def _left(stretch: Sequence[ReferenceLeg], index: int, stay: int, anchor: Place, free: int) -> int:
    """Return the leg on which the vehicle left its place: the last one that begins there."""
    there = [
        number
        for number in range(stay, index + 1)
        if metres_between(anchor, stretch[number].start) <= REST_M
    ]
    leaving = there[-1] if there else stay
    while leaving > stay and stretch[leaving].moving and stretch[leaving - 1].moving:
        leaving -= 1
    return max(leaving, free)


def _find_stop(stretch: Sequence[ReferenceLeg], first: int, far: int) -> tuple[int, int] | None:
    """Return the leg at whose start the vehicle had arrived, and the leg that confirmed it."""
    for confirming in range(far + 1, len(stretch)):
        candidate = _candidate(stretch, first + 1, confirming)
        if candidate > confirming:
            continue
        waited = (stretch[confirming].ended_at - stretch[candidate].started_at).total_seconds()
        leg = stretch[confirming]
        creeps = leg.distance_m <= REST_M and leg.distance_m < NOISE_MPS * leg.lasts_s
        if waited >= OPEN_S or (waited >= STOP_S and (creeps or not leg.moving)):
            return _at_rest(stretch, candidate, confirming, otherwise=candidate), confirming
    return None


def _candidate(stretch: Sequence[ReferenceLeg], earliest: int, last: int) -> int:
    """Return the first leg from whose start nothing up to `last` is far; past it if none is."""
    for index in range(earliest, last + 1):
        if all(
            metres_between(stretch[index].start, leg.end) <= TRIP_START_M
            for leg in reversed(stretch[index : last + 1])
        ):
            return index
    return last + 1


def _at_rest(stretch: Sequence[ReferenceLeg], candidate: int, last: int, *, otherwise: int) -> int:
    resting = [index for index in range(candidate, last + 1) if not stretch[index].moving]
    for index in resting:
        place = stretch[index].start
        if all(metres_between(place, leg.end) <= REST_M for leg in stretch[index : last + 1]):
            return index
    return resting[0] if resting else otherwise


def _standing(leg: ReferenceLeg) -> ReferenceSegment:
    state = "idling" if leg.engine else "parked"
    return ReferenceSegment(state, leg.started_at, leg.ended_at, 0.0)


def _drives(leg: ReferenceLeg) -> bool:
    return leg.moving or leg.engine is None


def _trip_pieces(legs: Sequence[ReferenceLeg]) -> list[ReferenceSegment]:
    metres = iter(_counted([leg for leg in legs if _drives(leg)]))
    return [
        ReferenceSegment("driving", leg.started_at, leg.ended_at, next(metres)[0])
        if _drives(leg)
        else _standing(leg)
        for leg in legs
    ]


def _counted(driven: Sequence[ReferenceLeg]) -> list[tuple[float, bool]]:
    """Return of each driven leg how far it counts, and whether the odometer said so.

    Stretch by stretch: from a reading on, up to the leg at whose end it disagrees with positions.
    """
    counted: list[tuple[float, bool]] = []
    first = 0
    mark: float | None = None
    for index, leg in enumerate(driven):
        mark = leg.readings[0] if mark is None else mark
        reading = leg.readings[1]
        by_gps = sum(reference_leg.distance_m for reference_leg in driven[first : index + 1])
        before = sum(metres for metres, _ in counted[first:])
        if mark is None:
            counted.append((leg.distance_m, False))
            first, mark = index + 1, reading
        elif reading is None:
            counted.append((max(0.0, by_gps - before), False))
        else:
            value = reading - mark
            low, high = sorted((value, by_gps))
            if low >= (1 - ODOMETER_TOLERANCE) * high - ODOMETER_SLACK_M:
                counted.append((max(0.0, value - before), True))
            else:
                counted.append((max(0.0, by_gps - before), False))
                first, mark = index + 1, reading
    return counted


def _source(counted: Sequence[tuple[float, bool]]) -> str:
    sources = {by_odometer for metres, by_odometer in counted if metres > 0}
    if True not in sources:
        return "gps"
    return "mixed" if False in sources else "odometer"


def _across(gap: ReferenceLeg) -> ReferenceSegment:
    metres, elsewhere = gap.distance_m, gap.distance_m > TRIP_START_M
    if gap.private:
        return ReferenceSegment(
            "offline", gap.started_at, gap.ended_at, metres, elsewhere, private=True
        )
    left, back = gap.readings
    if left is not None and back is not None:
        driven = back - left
        if driven >= MIN_UNSEEN_M and metres <= driven <= MAX_MPS * gap.lasts_s:
            return ReferenceSegment("offline", gap.started_at, gap.ended_at, driven, moved=True)
    if gap.engine is False and not elsewhere:
        return ReferenceSegment("parked", gap.started_at, gap.ended_at, 0.0)
    return ReferenceSegment("offline", gap.started_at, gap.ended_at, metres, elsewhere)


def _trip(legs: Sequence[ReferenceLeg], *, is_open: bool) -> ReferenceTrip:
    pieces = _trip_pieces(legs)
    driven = [leg for leg in legs if _drives(leg)]
    lengths = {
        state: sum(
            (piece.ended_at - piece.started_at for piece in pieces if piece.state == state),
            timedelta(),
        )
        for state in ("driving", "idling")
    }
    return ReferenceTrip(
        legs[0].started_at,
        legs[-1].ended_at,
        sum(piece.distance_m for piece in pieces),
        lengths["driving"],
        lengths["idling"],
        is_open,
        _source(_counted(driven)),
        sum(leg.distance_m for leg in driven),
        _difference([reading for leg in driven for reading in leg.readings]),
        all(leg.engine is None for leg in legs),
    )


def _difference(readings: Sequence[float | None]) -> float | None:
    """Return last minus first of start, end, start, end, ...; the last one is that of an end."""
    entries = [index for index, reading in enumerate(readings) if reading is not None]
    ends = [index for index in entries[1:] if index % 2]
    if not ends:
        return None
    first, last = readings[entries[0]], readings[ends[-1]]
    return None if first is None or last is None else last - first


def _joined(pieces: Sequence[ReferenceSegment]) -> list[ReferenceSegment]:
    joined: list[ReferenceSegment] = []
    for (state, private), group in groupby(pieces, key=lambda piece: (piece.state, piece.private)):
        alike = list(group)
        if state == "offline" and not private:
            joined += alike
            continue
        joined.append(
            ReferenceSegment(
                state,
                alike[0].started_at,
                alike[-1].ended_at,
                sum(reference_segment.distance_m for reference_segment in alike),
                any(reference_segment.moved for reference_segment in alike),
                private,
            )
        )
    return joined


def place_of(fix: Fix) -> Place | None:
    """Return where a fix was; None in private mode."""
    return None if fix.lat is None or fix.lon is None else (fix.lat, fix.lon)


@lru_cache(maxsize=200_000)
def metres_between(place: Place, other: Place) -> float:
    if place == other:
        return 0.0
    return float(_WGS84.inv(place[1], place[0], other[1], other[0])[2])
