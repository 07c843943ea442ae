"""Predictors of the final value of a learning curve."""
