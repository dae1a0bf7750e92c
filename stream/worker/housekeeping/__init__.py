"""What no fix brings about: calendars, inactive vehicles, alerts."""
