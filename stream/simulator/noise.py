"""What a tracker makes of the truth: when it reports, how wrong it is, what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.simulator.config import SimulationConfig
from stream.simulator.drive import Floats, Motion, metres_per_degree
from stream.simulator.fleet import Member

Milliseconds = npt.NDArray[np.int64]

_CORRELATED_S: Final = 90.0
"""Time in which the error of a position changes to another one."""
_JITTER: Final = 0.25
"""Part of the error, as a factor of its standard deviation, that is new with every fix."""
_MOVING_SPEED_NOISE_MPS: Final = 0.15
_STANDING_SPEED_NOISE_MPS: Final = 0.05
_NOTICES_S: Final = (0.3, 2.5)
"""How long a tracker takes to notice that it moves, stands, or has turned a corner."""
_MIN_APART_S: Final = 1.0
_GAP_FROM_H: Final = (7.0, 15.0)
_GAP_MIN: Final = (20.0, 150.0)
_LATE_FROM_H: Final = (7.0, 14.0)
_LATE_MIN: Final = (20.0, 120.0)
_SENT_AGAIN_S: Final = (5.0, 600.0)


@dataclass(frozen=True, slots=True)
class TankLevels:
    """Tank or battery of a vehicle over a day: seconds since it began, and the fraction then."""

    at_s: Floats
    fraction: Floats


@dataclass(frozen=True, slots=True)
class Tracked:
    """What there is to see of a vehicle on one day."""

    member: Member
    motion: Motion
    levels: TankLevels
    odometer_m: float
    began: datetime
    length_s: float


@dataclass(frozen=True, slots=True)
class Observed:
    """A vehicle's native events of a day, and when each is sent: Unix time in milliseconds."""

    events: list[dict[str, Any]]
    sent_ms: Milliseconds


def observe(config: SimulationConfig, tracked: Tracked, rng: np.random.Generator) -> Observed:
    """Return what the tracker reports, in order of device time."""
    member, motion = tracked.member, tracked.motion
    at_s = _covered(config, _moments(config, tracked, rng), rng)
    along_m, true_mps = motion.at(at_s)
    lat, lon, course_deg = motion.positions(along_m)
    lat_m, lon_m = metres_per_degree(float(motion.path_lat[0]))
    north_m, east_m = (_errors(config, at_s, tracked.length_s, rng) for _ in range(2))
    blur = np.where(true_mps > 0, _MOVING_SPEED_NOISE_MPS, _STANDING_SPEED_NOISE_MPS)
    recorded_ms = round(tracked.began.timestamp() * 1000) + np.round(at_s * 1000).astype(np.int64)
    recorded = np.datetime_as_string(recorded_ms.astype("datetime64[ms]"), unit="ms").tolist()
    columns: dict[str, list[Any]] = {
        "recorded_at": [f"{text}Z" for text in recorded],
        "lat": np.round(lat + north_m / lat_m, 6).tolist(),
        "lon": np.round(lon + east_m / lon_m, 6).tolist(),
        "speed_mps": np.round(np.abs(true_mps + blur * rng.standard_normal(len(at_s))), 2).tolist(),
        "heading_deg": np.round(course_deg, 1).tolist(),
    }
    if member.reports_ignition:
        # Device time is in whole milliseconds: a switch belongs to the one that it falls in.
        columns["ignition"] = motion.engine_on(at_s + 0.001).tolist()
    if not member.is_cycle:
        columns["odometer_m"] = np.round(tracked.odometer_m + along_m).tolist()
        fraction = np.interp(at_s, tracked.levels.at_s, tracked.levels.fraction)
        name = "soc_fraction" if member.is_electric else "fuel_fraction"
        columns[name] = np.round(np.clip(fraction, 0.0, 1.0), 3).tolist()
    names = ("vehicle_id", *columns)
    local_id = member.local_id
    events = [
        dict(zip(names, (local_id, *row), strict=True))
        for row in zip(*columns.values(), strict=True)
    ]
    return _sent(config, events, recorded_ms, rng)


def _moments(config: SimulationConfig, tracked: Tracked, rng: np.random.Generator) -> Floats:
    """Return when the tracker reports: when something happens, and at its intervals.

    It knows the ignition at once, movement and corners after a moment.
    """
    motion, length_s = tracked.motion, tracked.length_s
    drives = np.array([edge for drive in motion.drives for edge in drive[:2]])
    noticed = np.concatenate([drives, np.array(motion.corners)])
    noticed = noticed + rng.uniform(*_NOTICES_S, len(noticed))
    wakes = np.array([float(rng.uniform(0, config.parked_interval_s))])
    happened = np.unique(np.concatenate([wakes, noticed, motion.engine_s]))
    driving = np.searchsorted(np.sort(noticed[: len(drives)]), happened, side="right") % 2 == 1
    running = motion.engine_on(happened)
    intervals_s = np.where(
        driving,
        config.driving_interval_s,
        np.where(running, config.idling_interval_s, config.parked_interval_s),
    )
    until_s = np.append(happened[1:], length_s)
    counts = np.maximum(1, np.ceil((until_s - happened - _MIN_APART_S) / intervals_s))
    index = np.repeat(np.arange(len(happened)), counts.astype(np.int64))
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    moments = happened[index] + (np.arange(len(index)) - first[index]) * intervals_s[index]
    return np.asarray(np.unique(np.round(moments[moments < length_s], 3)))


def _covered(config: SimulationConfig, at_s: Floats, rng: np.random.Generator) -> Floats:
    """Leave out what a gap in coverage swallows."""
    if rng.random() >= config.gap_share:
        return at_s
    from_s = float(rng.uniform(*_GAP_FROM_H)) * 3600
    to_s = from_s + float(rng.uniform(*_GAP_MIN)) * 60
    return at_s[(at_s < from_s) | (at_s > to_s)]


def _errors(
    config: SimulationConfig, at_s: Floats, length_s: float, rng: np.random.Generator
) -> Floats:
    """Return errors along one axis in metres: a slow drift and a little jitter."""
    knots_s = np.arange(0.0, length_s + 2 * _CORRELATED_S, _CORRELATED_S)
    drift = np.interp(at_s, knots_s, rng.standard_normal(len(knots_s)))
    jitter = rng.standard_normal(len(at_s))
    return np.asarray(config.noise_m * (np.sqrt(1 - _JITTER**2) * drift + _JITTER * jitter))


def _sent(
    config: SimulationConfig,
    events: list[dict[str, Any]],
    recorded_ms: Milliseconds,
    rng: np.random.Generator,
) -> Observed:
    """Send each event at once; some again; those of a late stretch when it is over."""
    sent_ms = recorded_ms
    if len(events) and rng.random() < config.late_share:
        from_ms = int(recorded_ms[0]) + int(rng.uniform(*_LATE_FROM_H) * 3_600_000)
        to_ms = from_ms + int(rng.uniform(*_LATE_MIN) * 60_000)
        late = (recorded_ms >= from_ms) & (recorded_ms < to_ms)
        # Newest first: what was recorded last leaves first.
        sent_ms = np.where(late, to_ms + (to_ms - recorded_ms) // 1000, recorded_ms)
    again = np.flatnonzero(rng.random(len(events)) < config.duplicate_share)
    if len(again):
        delays_ms = (1000 * rng.uniform(*_SENT_AGAIN_S, len(again))).astype(np.int64)
        sent_ms = np.concatenate([sent_ms, sent_ms[again] + delays_ms])
        events += [events[index] for index in again.tolist()]
    return Observed(events, sent_ms)
