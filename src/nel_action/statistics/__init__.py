"""Estimates, confidence bounds and tests on arrays and numbers; independent of files, results and policies.

Only numpy and the standard library are used. Methods and their error rates: `docs/statistics.md`.
"""
