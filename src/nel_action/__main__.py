"""`python -m nel_action`: the command line."""

from __future__ import annotations

import sys

try:
    from nel_action.cli.app import main
except KeyboardInterrupt:  # cancelled during the imports
    sys.exit(130)

if __name__ == "__main__":
    main()
