"""Run the benchmark of f-Hyperband: `python -m benchmarks.hyperband`."""

from benchmarks.hyperband.compare_runs import main

main()
