"""Run the benchmark of replay of the stopping policies: `python -m benchmarks.replay`."""

from benchmarks.replay.compare_policies import main

main()
