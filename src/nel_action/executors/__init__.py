"""Executors: the backends that run jobs."""
