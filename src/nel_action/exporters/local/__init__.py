"""Exporter to local files: JSON, CSV, JUnit and Parquet."""
