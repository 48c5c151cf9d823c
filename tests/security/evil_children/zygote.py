"""The real zygote and the real jail, forking hostile children."""

from __future__ import annotations

from typing import NoReturn

from sandbox import zygote_main
from tests.security.evil_children import evils


def main(control_fd: int) -> NoReturn:
    """Run the zygote with our children."""
    zygote_main.main(control_fd, evils)
