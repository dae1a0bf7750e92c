"""Why something that came in could not be used: the one list of reasons.

The words are stored and published, so they stay; `docs/dead-letters.md` says of each what to do.
"""

from __future__ import annotations

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """The kind of fault of a dead letter. A reason is never renamed without a migration."""

    EMPTY = "empty"
    """The Kafka message has no value."""
    NOT_JSON = "not-json"
    """The message is not JSON in UTF-8."""
    NOT_A_FIX = "not-a-fix"
    """The message is JSON, but neither a batch of fixes nor a fix."""
    BAD_ENVELOPE = "bad-envelope"
    """What surrounds the fixes of a batch is wrong."""
    NO_ENVELOPE = "no-envelope"
    """A fix without what the gateway puts around it: who sent it, and when it was received."""
    BAD_FIX = "bad-fix"
    """A fix breaks the schema."""
    FOREIGN_VEHICLE = "foreign-vehicle"
    """The vehicle belongs to another municipality than the key."""
    UNKNOWN_MUNICIPALITY = "unknown-municipality"
    """The municipality is not entered."""
    NULL_ISLAND = "null-island"
    """The position is 0,0."""
    FUTURE = "future"
    """The fix was recorded too long after its receipt."""
    TOO_OLD = "too-old"
    """The fix was recorded too long before its receipt, and not pushed as history."""
    TOO_LATE = "too-late"
    """The fix lies before what is kept of its vehicle."""
    UNASSIGNED_TRACKER = "unassigned-tracker"
    """The tracker was in no vehicle at that instant."""
    CONFLICTING_FIX = "conflicting-fix"
    """Another fix of the same vehicle and instant counts."""
    OTHER_VENDOR = "other-vendor"
    """The vendor is none of those that report this vehicle."""
    UNPROCESSABLE = "unprocessable"
    """The record fails alone, through a fault of this program."""
