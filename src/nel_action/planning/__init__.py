"""Planning: task resolution, checks and job keys."""
