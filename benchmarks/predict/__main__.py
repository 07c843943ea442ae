"""Run `python -m benchmarks.predict`."""

from benchmarks.predict.compare_predictors import main

main()
