"""What a script reaches, written down: variables, the names after them, the use made of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from integrations.check_syntax import Node


class Use(Enum):
    """What is done with what a chain leads to."""

    CALL = "called"
    VALUE = "taken as a value"
    OPENED = "indexed by something that is no plain name"
    TARGET = "assigned to"
    INIT = "the first value of a local variable"
    TESTED = "tested: a script that tests a value can live without it"


@dataclass(slots=True, eq=False)
class Local:
    """A local variable. `assigned` if it is given another value later; `alias` its first one."""

    name: str
    constant: bool = False
    assigned: bool = False
    alias: Chain | None = None


@dataclass(slots=True)
class Call:
    """How a chain is called: its arguments, whether with `:`, and whether errors are caught."""

    arguments: list[Node]
    method: bool = False
    guarded: bool = False


@dataclass(slots=True)
class Chain:
    """
    A variable, names after it, and the use made of where they lead.

    `root` is a local variable, or the name of a global one; each of `names` is a name and the
    number of its word; `word` is the number of the root's.
    """

    root: Local | str
    word: int
    names: list[tuple[str, int]]
    use: Use
    call: Call | None = None
    into: Local | None = None


@dataclass(slots=True)
class Scopes:
    """All chains in the order in which values are computed, and what the compiler would refuse."""

    chains: list[Chain] = field(default_factory=list)
    #: Global variables that the script itself sets.
    assigned: set[str] = field(default_factory=set)
    #: Numbers of words and what is wrong with each.
    faults: list[tuple[int, str]] = field(default_factory=list)
