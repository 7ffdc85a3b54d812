"""Packaged config groups: what `defaults: [execution: …, deployment: …]` chooses from."""
