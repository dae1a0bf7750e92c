"""Servers from PyPI wheels, for trials, the demo and the tests: started, stopped and cleaned up."""
