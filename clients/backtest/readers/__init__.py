"""Readers of recorded runs, one file a source."""
