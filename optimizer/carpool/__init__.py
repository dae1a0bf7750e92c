"""Carpooling: which trips could share a vehicle."""
