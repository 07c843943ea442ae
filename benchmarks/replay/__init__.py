"""Stopping rules replayed on real learning curves."""
