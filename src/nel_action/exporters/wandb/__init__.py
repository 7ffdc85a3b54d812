"""Results as runs in Weights & Biases."""
