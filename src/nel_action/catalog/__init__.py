"""The catalog of benchmarks, with the harness, image and defaults of each."""
