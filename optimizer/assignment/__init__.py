"""Assignment: which round trip takes which vehicle."""
