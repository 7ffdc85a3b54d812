"""Exporter to Weights & Biases."""
