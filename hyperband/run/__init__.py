"""One run of the `hyperband` command: its folder, journal, Optuna storage, console and results."""
