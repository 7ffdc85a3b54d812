"""Exporters: local files, Google Sheets, MLflow and Weights & Biases."""
