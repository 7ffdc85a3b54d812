"""Estimates, bounds and tests; knows nothing of files."""
