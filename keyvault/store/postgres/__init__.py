"""A ledger in PostgreSQL: the store of a firm with standbys, and the only door to psycopg."""
