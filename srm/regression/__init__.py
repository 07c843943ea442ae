"""Regression: nu-SVR, kernel ridge and the features they learn from."""
