"""Chaos: a whole installation under load and fifty faults ends with the rows of an undisturbed one.

`python -m tests.chaos --help`, or `make chaos`.
"""
