"""The driver: runs an evaluation from the plan to the exports and yields its events.

`evaluate` starts a new invocation, `follow` continues an existing one, `judge` starts from results that another
machine measured. The command line, the library and the GitHub Action consume their events (`driver.events`) and differ
only in their `Surroundings`.
"""
