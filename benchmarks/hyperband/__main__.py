"""Run the benchmark of f-Hyperband: `python -m benchmarks.hyperband`."""

from benchmarks.hyperband.benchmark import main

main()
