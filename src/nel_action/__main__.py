"""`python -m nel_action`: the command line."""

from __future__ import annotations

from nel_action.cli.app import main

if __name__ == "__main__":
    main()
