"""Stopping policies: when a trial ends early."""
