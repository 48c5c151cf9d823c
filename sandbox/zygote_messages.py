"""
What the zygote says to its supervisor, one SOCK_SEQPACKET message each.

Runs in: supervisor and zygote. Trusts: both ends are our code. Refuses: nothing.
May import: stdlib.

`C` pid + two descriptors (the child's socket, its pidfd): a child that waits for START.
`X` pid, wait status, CPU microseconds: a child that ended.
`R` JSON of the jail's report, once: ready. `E` JSON {step, why}: refused, and it exits.
"""

from __future__ import annotations

import struct

CHILD_MESSAGE = struct.Struct("!cI")
EXIT_MESSAGE = struct.Struct("!cIiQ")
