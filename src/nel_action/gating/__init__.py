"""From results, a baseline and a policy to a verdict."""
