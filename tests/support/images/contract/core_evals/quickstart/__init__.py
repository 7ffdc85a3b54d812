"""The quickstart's benchmarks behind the nemo-evaluator container contract."""
