"""Master data: fleets, rules, calendars and policies."""
