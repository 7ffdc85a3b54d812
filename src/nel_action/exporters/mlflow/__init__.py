"""Exporter to MLflow, and baselines from it."""
