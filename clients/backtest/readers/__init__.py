"""Readers of recorded runs, one file for each kind of source; `detect.read` finds the right one."""
