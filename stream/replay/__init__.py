"""Recorded fixes from files: `mapping` says what columns mean, `reader` reads, `push` sends."""
