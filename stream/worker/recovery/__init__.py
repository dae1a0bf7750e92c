"""Getting out of standstills: of the broker, of sessions, of readers."""
