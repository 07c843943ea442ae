"""Run `python -m benchmarks.predict`."""

from benchmarks.predict.benchmark import main

main()
