"""Choosing sites for clients: p-median and facility location, to proven optimality."""
