from benchmarks.replay.benchmark import main

main()
