"""Master data: municipalities, vehicles, trackers, vendors and their keys, calendars."""
