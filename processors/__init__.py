"""What it means: pure functions from fixes to segments, trips, idle intervals and usage."""
