"""Status of Slurm jobs from the queue, the accounting database and exit records."""
