"""Tests that plug-ins run on themselves; nothing in nel-action imports them."""
