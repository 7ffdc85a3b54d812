"""Runs evaluations as Kubernetes Jobs."""
