"""`python -m moonsand` is the `moonsand` command."""

from __future__ import annotations

from moonsand.cli import main

if __name__ == "__main__":
    main()
