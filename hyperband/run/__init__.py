"""A run of the `hyperband` command: its folder, journal, storage and reports."""
