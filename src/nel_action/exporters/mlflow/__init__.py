"""Results as runs in MLflow."""
