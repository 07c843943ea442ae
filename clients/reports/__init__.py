"""Reports on a study: its log read from a server, the calibration of its predictions, and what its stops saved."""
