"""Readers of files that more than one harness leaves; a harness may use these, never another harness."""
