"""Exporter to Google Sheets: one row per job."""
