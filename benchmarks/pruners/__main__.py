from benchmarks.pruners.benchmark import main

main()
