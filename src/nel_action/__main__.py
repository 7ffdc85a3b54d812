"""`python -m nel_action` and the console script: the command line."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; also an installation that cannot be imported exits with 3, not with 1."""
    try:
        from nel_action.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - a broken installation is no verdict
        sys.stderr.write(f"nel-action cannot be imported: {type(error).__name__}: {error}; install it again\n")
        sys.exit(3)
    run()


if __name__ == "__main__":
    main()
