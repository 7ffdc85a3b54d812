"""Slurm clusters: submit over SSH, wait resumably, host the model, survive what clusters do."""
