"""Conformance tests for plug-ins; no other module of nel-action imports this package."""
