"""Frozen types shared by every layer."""
