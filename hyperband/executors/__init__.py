"""Executors: run training jobs in worker processes, on this machine or on a Ray or Slurm cluster."""
