"""What happened to a study: log, calibration, report."""
