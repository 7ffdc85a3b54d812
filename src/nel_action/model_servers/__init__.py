"""Servers for the model under test: how to start each one, and how to know that it is ready."""
