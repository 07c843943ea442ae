"""Benchmarks of architecture searches, beside random search."""
