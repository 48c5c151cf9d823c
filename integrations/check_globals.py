"""Globals that a script names and the sandbox does not have, and what to use instead."""

from __future__ import annotations

from collections.abc import Iterable

from integrations.failure import did_you_mean, nearest, printable
from sandbox.script_names import BASIC, LIBRARIES, PROVIDED

#: What to use in place of what stock Lua has and a script here has not.
INSTEAD: dict[str, str] = {
    "collectgarbage": "Leave it out: memory is taken back by itself.",
    "debug": "error(), pcall() and dump() tell what happens.",
    "dofile": "One script is one file; put the code into it.",
    "io": "Print with print(), take data from `input`, give it back with return.",
    "load": "Write the code itself; for data use json.decode().",
    "loadfile": "One script is one file; put the code into it.",
    "loadstring": "Write the code itself; for data use json.decode().",
    "os.execute": "Nothing can be started from a script; call app.integrations instead.",
    "os.exit": "End with return, or fail with error().",
    "os.getenv": "Take settings from `input`; accounts are named in app.integrations.",
    "os.remove": "There are no files; give data back with return.",
    "os.rename": "There are no files; give data back with return.",
    "os.setlocale": "Leave it out: text and numbers are always written the same way.",
    "os.tmpname": "There are no files; keep data in tables.",
    "package": "There are no modules; json, regex, docs and app are there already.",
    "python": "There is no way out of Lua but app.integrations.",
    "require": "There are no modules; json, regex, docs and app are there already.",
    "string.dump": "Write the code itself.",
    "warn": "Use print().",
    # Of other Luas and of other languages.
    "arg": "What the script is given is in `input`.",
    "bit": "Bits have operators: & | ~ << >>.",
    "bit32": "Bits have operators: & | ~ << >>.",
    "console": "Use print().",
    "getfenv": "Lua 5.4 has _ENV.",
    "math.pow": "Write x ^ y.",
    "null": "Nothing is nil; JSON's null is json.null.",
    "None": "Nothing is nil.",
    "setfenv": "Lua 5.4 has _ENV.",
    "string.gfind": "Use string.gmatch().",
    "table.getn": "Write #t.",
    "unpack": "Use table.unpack().",
}
ROOTS = frozenset({*BASIC, *LIBRARIES, *PROVIDED})


def is_known(path: tuple[str, ...]) -> bool:
    """Tell whether a script has a global, or a global's member; of values of its own, yes."""
    root = path[0]
    if root not in ROOTS:
        return False
    members = LIBRARIES.get(root) or PROVIDED.get(root)
    return not members or len(path) == 1 or path[1] in members


def missing(path: tuple[str, ...], own: Iterable[str]) -> tuple[str, str]:
    """
    Say that a name does not exist, and what to use instead.

    Args:
        path: the name, with its member if it has one.
        own: globals that the script sets itself.
    """
    root, name = path[0], ".".join(path[:2])
    if root in ROOTS:
        return _missing_member(root, name, path[1])
    for one in (name, root):
        if one in INSTEAD:
            return f"{one} does not exist here", INSTEAD[one]
    shown = printable(root, 64)
    near = nearest(root, [*ROOTS, *own])
    hint = f"Did you mean: {', '.join(near)}?" if near else "No statement gives it a value."
    return f"the global {shown} is never set", hint


def _missing_member(root: str, name: str, member: str) -> tuple[str, str]:
    shown = printable(name, 64)
    if name in INSTEAD:
        return f"{name} does not exist here", INSTEAD[name]
    members = LIBRARIES.get(root) or PROVIDED[root]
    if root == "app":
        return f"Unknown name: {shown}", "Functions are app.integrations.<integration>.<function>."
    near = did_you_mean(member, members).strip()
    return f"{shown} does not exist here", near or f"{root} has: {', '.join(members)}."
