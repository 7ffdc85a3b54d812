"""The Docker runtime of the local executor."""
