"""Connections, locks, migrations, bulk copies: what every room of the database stands on."""
