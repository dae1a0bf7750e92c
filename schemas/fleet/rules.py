"""The domain's rules: one frozen model, stored per municipality, every default with its source."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

FIX_KEPT_DAYS: Final = 90
"""How long raw fixes are kept after they were recorded: personal data (docs/domain.md, privacy).

What deletes them says the same: the retention policy of migration 0002, and `fleetpulse prune`.
"""


class Rules(BaseModel):
    """Thresholds that turn fixes into a timeline. Units stand in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    standstill_below_mps: float = Field(
        default=1 / 3.6, gt=0, description="Below this speed a vehicle stands: 1 km/h (Geotab)"
    )
    position_noise_m: float = Field(
        default=25.0,
        ge=0,
        description="A displacement up to this may be noise: then the reported speed decides "
        "(ours: five times the usual error of a vehicle's receiver)",
    )
    noise_speed_mps: float = Field(
        default=2.0,
        gt=0,
        description="Within the noise, where no speed is reported or a leg's two ends differ, a "
        "vehicle moves from this speed on (ours: a brisk walk; receivers drift slower)",
    )
    idle_reported_after_s: float = Field(
        default=200.0, ge=0, description="Idle intervals longer than this are reported (Geotab)"
    )
    ignition_noise_s: float = Field(
        default=30.0, ge=0, description="Ignition changes shorter than this are ignored (Geotab)"
    )
    trip_start_m: float = Field(
        default=200.0,
        gt=0,
        description="A trip starts this far from the standstill, and a stop has no point this far "
        "from it (Traccar, report.trip.minDistance)",
    )
    stop_after_s: float = Field(
        default=180.0, gt=0, description="A standstill this long is a stop (Traccar, minDuration)"
    )
    rest_radius_m: float = Field(
        default=50.0,
        gt=0,
        description="A vehicle that rests stays within this of where it rests: a light nearer to "
        "the depot than trip_start_m is traffic, not the stop (ours: twice the noise)",
    )
    open_at_most_s: float = Field(
        default=900.0,
        gt=0,
        description="A departure or an arrival is open for so long at most, however a vehicle "
        "circles within trip_start_m (ours: five stops)",
    )
    gap_s: float = Field(
        default=3600.0, gt=0, description="Longer without a fix is offline (Traccar, stopGap)"
    )
    max_speed_mps: float = Field(
        default=200 / 3.6,
        gt=0,
        description="A faster leg is impossible: 200 km/h (OS2fleetoptimiser)",
    )
    max_future_s: float = Field(
        default=86_400.0,
        ge=0,
        description="A fix further ahead of its receipt is refused (Traccar, filter.future)",
    )
    max_age_days: float = Field(
        default=FIX_KEPT_DAYS,
        gt=0,
        le=FIX_KEPT_DAYS,
        description="A fix recorded longer before its receipt is refused, unless it was pushed as "
        "history: raw fixes are not kept for longer (ours; a week rollover is 7,168 days)",
    )
    odometer_tolerance: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="Odometer and GPS may differ by this share of the longer; beyond it GPS counts "
        "(ours: roads are a fifth to two fifths longer than the lines between fixes)",
    )
    odometer_slack_m: float = Field(
        default=50.0,
        ge=0,
        description="And by this much besides: readings are coarse and come late (ours)",
    )
    odometer_unseen_least_m: float = Field(
        default=2000.0,
        gt=0,
        description="Across a gap the odometer counts from this much on: one that counts whole "
        "kilometres, or comes late, says less without a drive (ours)",
    )
    round_trip_min_m: float = Field(
        default=100.0, ge=0, description="Shorter round trips do not count (OS2fleetoptimiser)"
    )
    round_trip_max_s: float = Field(
        default=36_000.0,
        gt=0,
        description="Longer round trips are over-long: 10 h (OS2fleetoptimiser)",
    )
    round_trip_split_stop_s: float = Field(
        default=2_700.0,
        gt=0,
        description="An over-long round trip is split at stops longer than this: 45 min "
        "(OS2fleetoptimiser, allowed_stop_duration)",
    )
    underused_below_km_a_year: float = Field(
        default=5_000.0, ge=0, description="Toronto Auditor General"
    )
    underused_below_engine_h_a_year: float = Field(
        default=125.0, ge=0, description="Driving and idling (Toronto Auditor General)"
    )
    underused_below_available_share: float = Field(
        default=0.055,
        ge=0,
        le=1,
        description="Share of the time that the calendar gives a vehicle, in which it is on a trip "
        "(ours: what 125 hours are of a year's 2,270 from Monday to Friday, 07:00 to 16:00)",
    )
    underused_below_class_share: float = Field(
        default=0.25, ge=0, le=1, description="Share of the class average (NASA)"
    )
    alert_window_days: int = Field(
        default=28,
        ge=1,
        description="Days that use and idling are judged on (ours: four of each weekday)",
    )
    alert_least_days: float = Field(
        default=7.0,
        gt=0,
        description="A vehicle seen for less is not judged yet (ours: each weekday once)",
    )
    alert_margin: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="An alert is over when the figure is beyond its limit by this share, so that "
        "one at the limit does not come and go (ours)",
    )
    alert_cooldown_days: float = Field(
        default=7.0, ge=0, description="Rest before the same alert is raised again (ours)"
    )
    idling_share_above: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="Idling beyond this share of engine hours is too much (ours: fleets report a "
        "fifth to a third)",
    )
    idling_least_engine_h: float = Field(
        default=5.0, ge=0, description="Fewer engine hours tell nothing about idling (ours)"
    )
    odometer_mismatch_above: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="Odometer and GPS may differ by this share of the longer over the window: "
        "beyond it one of them is wrong (ours: positions cut bends by a few per cent)",
    )
    odometer_least_km: float = Field(
        default=50.0, ge=0, description="Fewer kilometres tell nothing about an odometer (ours)"
    )
    depot_short_above: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="A depot is short when on more than this share of its working days all of its "
        "vehicles, or more, were out at once; more, where it has one only (ours: one day in four)",
    )
    silent_after_h: float = Field(
        default=72.0,
        gt=0,
        description="A vehicle without a fix for so long, while others of its municipality report, "
        "is silent (ours: a weekend)",
    )
