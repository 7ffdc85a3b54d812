"""The state of Slurm jobs: queue, accounting and exit records."""
