"""The demo: the whole loop on servers of its own, and what came of it."""
