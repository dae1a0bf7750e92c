"""TimescaleDB through psycopg 3: connections, migrations and the rows the rooms exchange."""
