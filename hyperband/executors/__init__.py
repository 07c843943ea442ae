"""Executors: run training jobs in workers."""
