"""Results as local files: JSON, CSV, JUnit, Parquet."""
