"""
Which names a script sees: data, for the child that builds them and for checks that run nothing.

Runs in: child; whoever checks scripts. Trusts: nobody. Refuses: nothing, it only tells.
May import: stdlib.
"""

from __future__ import annotations

BASIC = (
    "_VERSION",
    "assert",
    "dump",  # ours: prints a value and returns it
    "error",
    "getmetatable",  # tells only of metatables a script set
    "ipairs",
    "next",  # in a fixed order
    "pairs",  # in a fixed order
    "pcall",  # cannot catch a limit or a memory error
    "print",  # at most 200 values, shows tables, no addresses
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",  # refuses read-only tables
    "select",
    "setmetatable",  # installs a private copy of known events
    "sleep",  # a call: the run is let go while it waits
    "tonumber",
    "tostring",  # no addresses
    "type",
    "wait_for",  # asks a function again and again, and sleeps in between
    "xpcall",  # cannot catch a limit or a memory error
)

LIBRARIES: dict[str, tuple[str, ...]] = {
    "coroutine": ("close", "create", "isyieldable", "resume", "running", "status", "wrap", "yield"),
    "math": (
        "abs", "acos", "asin", "atan", "ceil", "cos", "deg", "exp", "floor", "fmod", "huge",
        "log", "max", "maxinteger", "min", "mininteger", "modf", "pi", "rad", "random",
        "randomseed", "sin", "sqrt", "tan", "tointeger", "type", "ult",
    ),
    "os": ("clock", "date", "difftime", "time"),
    "string": (
        "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "pack",
        "packsize", "rep", "reverse", "sub", "unpack", "upper",
    ),
    "table": ("concat", "insert", "move", "pack", "remove", "sort", "unpack"),
    "utf8": ("char", "charpattern", "codepoint", "codes", "len", "offset"),
}  # fmt: skip

#: What stock Lua 5.4 has and a script here has not, and why. A test holds this to be complete.
OMITTED: dict[str, str] = {
    "collectgarbage": "stopping the collector defeats the memory limit; 'count' differs on replay",
    "debug": "hooks, upvalues and the registry undo every rule of this file",
    "dofile": "reads files",
    "io": "reads and writes files, starts processes",
    "load": "code made at run time is code nobody reviewed, reader functions keep the parser busy "
    "for ever, and nothing a script needs is lost without it",
    "loadfile": "reads files",
    "os.execute": "starts processes",
    "os.exit": "would end the child without a result",
    "os.getenv": "reads the environment, which is the host's",
    "os.remove": "changes files",
    "os.rename": "changes files",
    "os.setlocale": "process-wide; would change sorting, patterns and number formats of the run",
    "os.tmpname": "creates files",
    "package": "loads files and native libraries; left over, it was CVE-2022-0543 in Redis",
    "python": "lupa's bridge: its functions pass by the attribute filter",
    "require": "loads files and native libraries",
    "string.dump": "makes byte code, which the interpreter does not verify",
    "warn": "writes to the process's standard error",
}

#: What the prelude adds when a run begins: read-only tables with their members, and names whose
#: members are the script's own affair (`()`). Functions under `app` depend on the run.
PROVIDED: dict[str, tuple[str, ...]] = {
    "_G": (),
    "app": ("integrations", "mcp"),
    "approval": ("request",),
    "docs": ("list", "read", "search"),
    "input": (),
    "json": ("array", "decode", "encode", "null"),
    "mcp": (
        "call", "get_prompt", "prompts", "read_resource", "resources", "schema", "servers", "tools",
    ),
    "parallel": ("all", "map"),
    "regex": ("gsub", "match", "match_all"),
}  # fmt: skip
