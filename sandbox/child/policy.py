"""
Which Lua globals a script sees: an allowlist, and a reason for everything left out.

Runs in: child. Trusts: nobody. Refuses: any name not listed here; the prelude will not build if
it makes more or less than this. May import: stdlib, sandbox.script_names.

The lists themselves are data of `sandbox.script_names`, since scripts are also checked where none
can run. What it calls provided is added by the prelude when a run begins: read-only tables of
names (`_G` is the script's own environment), not library functions.
"""

from __future__ import annotations

from sandbox.script_names import BASIC, LIBRARIES, OMITTED

__all__ = ["BASIC", "LIBRARIES", "OMITTED", "names"]


def names() -> tuple[str, ...]:
    """Give every allowed name, dotted, in the order in which the environment is built."""
    members = (f"{library}.{name}" for library, group in LIBRARIES.items() for name in group)
    return (*BASIC, *members)
