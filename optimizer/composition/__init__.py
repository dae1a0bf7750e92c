"""Composition: how many vehicles of which kind each depot should have, between cost and CO2e."""
