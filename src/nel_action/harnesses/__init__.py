"""Harnesses: one folder for each program that runs benchmarks, with its command line and its locked requirements."""
