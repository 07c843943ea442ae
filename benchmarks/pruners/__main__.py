"""Run the benchmark of pruners: `python -m benchmarks.pruners`."""

from benchmarks.pruners.benchmark import main

main()
