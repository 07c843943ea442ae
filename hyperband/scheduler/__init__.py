"""Schedulers: which configuration trains next, and until when."""
