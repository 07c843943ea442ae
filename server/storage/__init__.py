"""Storage: the append-only log of every study in SQLite or PostgreSQL."""
