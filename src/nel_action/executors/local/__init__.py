"""The local executor: containers or processes on this machine, under a supervisor that outlives the submitter."""
