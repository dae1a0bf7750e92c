"""Commands for master data, vendors and readers."""
