"""`python -m moonsand` is the `moonsand` command."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command; Ctrl-C ends it quietly also while its modules are being loaded."""
    try:
        from moonsand.cli import main as command  # noqa: PLC0415 (so that it can be interrupted)

        command()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
