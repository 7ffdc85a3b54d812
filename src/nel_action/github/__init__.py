"""The workflow that this runs in: events, commands, checks, comments."""
