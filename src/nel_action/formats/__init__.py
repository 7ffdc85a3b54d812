"""Result formats: for each, `detect(path)` finds results and `read(path, task)` parses one of them."""
