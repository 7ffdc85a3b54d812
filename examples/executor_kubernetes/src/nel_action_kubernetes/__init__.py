"""Evaluations as Kubernetes Jobs."""
