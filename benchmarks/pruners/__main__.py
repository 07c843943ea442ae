"""Run the benchmark of pruners: `python -m benchmarks.pruners`."""

from benchmarks.pruners.compare_pruners import main

main()
