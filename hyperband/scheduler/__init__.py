"""Schedulers: decide which configuration trains next, and for how many epochs."""
