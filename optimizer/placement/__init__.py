"""Placement: which vehicle stands at which depot."""
