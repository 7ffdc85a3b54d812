"""Where results go besides the report."""
