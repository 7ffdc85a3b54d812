"""From a spec to a plan: task resolution, checks and job keys."""
