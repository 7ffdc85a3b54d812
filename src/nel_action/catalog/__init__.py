"""Which benchmarks there are, and which harness and image runs each."""
