"""Harness and server containers on the local Docker engine."""
