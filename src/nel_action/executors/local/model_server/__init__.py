"""Model servers of the local executor: processes, containers and their pool."""
