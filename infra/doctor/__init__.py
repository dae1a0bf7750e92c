"""Looks an installation over: what is wrong, and the command that mends it. Changes nothing."""
