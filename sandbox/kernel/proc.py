"""
Reading and writing what the kernel tells of this process under /proc/self.

Runs in: zygote, doctor. Trusts: the kernel. Refuses: nothing. May import: stdlib.

By `open`, not by `pathlib`: whatever the zygote loads, each fork of it has in its page tables and
in its memory, and pathlib brings the parsers of addresses and names of the web with it.
"""

from __future__ import annotations

import resource


def read(name: str) -> str:
    """Give the text of /proc/self/*name*."""
    # In bytes: a codec that is asked for by name is a file to load, and files may be gone.
    with open(f"/proc/self/{name}", "rb") as file:  # noqa: PTH123
        return file.read().decode(errors="replace")


def write(name: str, text: str) -> None:
    """Write *text* to /proc/self/*name*."""
    with open(f"/proc/self/{name}", "wb") as file:  # noqa: PTH123
        file.write(text.encode())


def mapped_bytes() -> int:
    """Give how much address space this process has mapped."""
    return int(read("statm").split()[0]) * resource.getpagesize()
