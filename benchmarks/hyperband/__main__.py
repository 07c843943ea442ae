from benchmarks.hyperband.benchmark import main

main()
