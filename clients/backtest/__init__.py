"""Replay the learning curves of a finished search to see what stopping would have saved and lost."""
