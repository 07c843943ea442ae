"""Latency, restart time and capacity of the server."""
