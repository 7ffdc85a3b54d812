"""SSH connections to login nodes."""
