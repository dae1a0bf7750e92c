"""Fixes, the timeline that derives from them, and its alerts."""
