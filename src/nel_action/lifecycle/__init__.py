"""Submit, wait, cancel, resume, collect: the only code that drives executors."""
