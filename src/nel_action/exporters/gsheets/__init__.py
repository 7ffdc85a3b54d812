"""Results as rows of a Google sheet."""
