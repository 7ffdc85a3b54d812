"""Programs that run benchmarks: how to call each one, and how to read what it leaves."""
