"""The quickstart's benchmarks as a package that implements the nemo-evaluator container contract."""
