"""What the user wrote: YAML, composed and validated, with the place of every key."""
