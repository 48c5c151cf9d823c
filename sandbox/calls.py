"""
What passes between a script and whoever answers its calls.

Runs in: supervisor, worker (vocabulary). Trusts: nobody. Refuses: nothing; it only names shapes.
May import: stdlib.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.limits import Limits
from sandbox.outcome import Reason


@dataclass(frozen=True, slots=True)
class Call:
    """
    One call of a script, checked for shape only: every word in it is the script's.

    `seq` counts from 1 in the order of the script. `integration` and `function` are at most
    64 characters each; `account` is None when the script named none. `arguments` is the JSON
    text of the list of positional arguments.
    """

    seq: int
    integration: str
    function: str
    account: str | None
    arguments: bytes

    @property
    def name(self) -> str:
        """Give the full name, `mux.list_assets`."""
        return f"{self.integration}.{self.function}"


@dataclass(frozen=True, slots=True)
class Reply:
    """
    The answer to one call.

    `ok` with any JSON value, or not ok with a JSON object whose `message` the script's error
    shows. `clock_ms` is the time of the answer, Unix milliseconds: the script's clock moves to it.
    `order` is the place of its effect among all effects of the run, counted from 1 without gaps:
    the script gets replies in this order. None: in the order in which they are given.
    """

    ok: bool
    body: bytes
    clock_ms: int
    order: int | None = None


@dataclass(frozen=True, slots=True)
class EndRun:
    """Given instead of a reply: the run ends here, with this reason and message."""

    reason: Reason
    message: str
    hint: str | None = None


OnCall = Callable[[Call], Awaitable[Reply | EndRun]]
OnOutput = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FunctionSurface:
    """What a script sees of one integration: function names and account names, nothing else."""

    functions: Sequence[str]
    accounts: Sequence[str] = ("default",)


@dataclass(frozen=True, slots=True)
class StartRequest:
    """
    All a child is told of a run; with the replies, everything its result depends on.

    `script` is Lua source, `input` JSON text, `seed` 0 to 2^63-1, `clock_ms` Unix milliseconds.
    `surface` maps an integration's name to what is granted of it. `name` is the chunk's name
    in error messages. `listed` gives the return values as a list even if there is one or none.
    `wall_used_ms` is what earlier attempts used of the wall time.
    """

    script: bytes
    input: bytes = b"null"
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    clock_ms: int = 0
    surface: Mapping[str, FunctionSurface] = field(default_factory=dict)
    name: str = "script"
    listed: bool = False
    wall_used_ms: int = 0
