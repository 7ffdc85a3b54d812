"""Executor for Slurm clusters: submission over SSH, resumable polling, model servers in the job's allocation."""
