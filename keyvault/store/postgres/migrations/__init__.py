"""The database's schema, step by step: ``NNNN_name.up.sql``, and ``NNNN_name.down.sql`` that takes it back."""
