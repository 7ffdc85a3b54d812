"""Runs an evaluation from spec to exports and yields its events."""
