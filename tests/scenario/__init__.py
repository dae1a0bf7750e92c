"""Recorded and simulated days in, known answers out."""
