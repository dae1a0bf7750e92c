"""Folding stored fixes again."""
