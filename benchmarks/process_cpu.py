"""What processes cost, by the kernel's own account."""

from __future__ import annotations

import os
from pathlib import Path


def tree_cpu_us(pid: int) -> int:
    """CPU of a process and its reaped children, from /proc (proc(5): fields 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) * 1_000_000 // os.sysconf("SC_CLK_TCK")
