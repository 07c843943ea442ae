"""Optuna's pruners beside ours."""
