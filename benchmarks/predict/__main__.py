from benchmarks.predict.benchmark import main

main()
