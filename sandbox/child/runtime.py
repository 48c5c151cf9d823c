"""
The Lua state: built once with its prelude, then used for one script.

Runs in: child (built in the zygote before any script). Trusts: the prelude. Refuses: another lupa
or Lua than the pinned one; any Lua object as an argument. May import: stdlib, lupa, sandbox.child.

Only bytes, numbers, booleans and nil pass between Lua and Python, through two functions that never
raise: an exception would be catchable in Lua, and lupa would keep what it refers to.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, NoReturn

import lupa
from lupa import lua54

from sandbox.child import confinement, faults, policy
from sandbox.child.channel import Channel, HungUp
from sandbox.child.regex import Search
from sandbox.reasons import Reason

LUPA_VERSION, LUA_VERSION = "2.8", (5, 4)
#: In the order in which they need each other.
PRELUDE = (
    "meter", "base", "order", "strings", "tables", "decode", "encode", "show", "coroutines",
    "clock", "names", "regex", "flight", "parallel", "surface", "waiting", "run",
)  # fmt: skip

EXIT_HUNG_UP = 0
EXIT_BROKEN = 70
#: The supervisor knows this code: the address space is full.
EXIT_NO_MEMORY = 77

_U32 = struct.Struct("<I")
_CLOCK = struct.Struct(">Q")


class WrongEngine(Exception):
    """The installed lupa or its Lua is not the one whose faults are known."""


def check_engine(version: str, lua_version: tuple[int, ...]) -> None:
    """
    Refuse any engine but the pinned one.

    Raises:
        WrongEngine: naming what was expected and what is there.
    """
    if (version, tuple(lua_version)) != (LUPA_VERSION, LUA_VERSION):
        raise WrongEngine(
            f"lupa {LUPA_VERSION} with Lua {LUA_VERSION} is required, "
            f"not lupa {version} with Lua {tuple(lua_version)}"
        )


class Engine:
    """One Lua state. `run` uses it up."""

    def __init__(self) -> None:
        self._lua = lua54.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            attribute_filter=_no_attributes,
            max_memory=0,
        )
        check_engine(lupa.__version__, self._lua.lua_version)
        self._search = Search()
        self._channel: Channel
        self._reply = b""
        self._printed_bytes = 0
        # The limits of the run that Python has a part in; the prelude reads them out of START.
        self._memory_bytes = self._output_bytes = self._result_bytes = 0
        self._base_bytes = 0
        self._arm: Callable[[int, int], None] = confinement.arm
        self._operations: dict[bytes, Callable[..., bytes | int | None]] = {
            b"begin": self._begin,
            b"print": self._print,
            b"flush": self._flush,
            b"call": self._call,
            b"send": self._send,
            b"wait": self._wait,
            b"take": self._take,
            b"regex": self._search.begin,
            b"regex_more": lambda _, most: self._search.more(most),
            b"done": self._done,
        }
        self._main = self._load_prelude()
        self._mapped_bytes = confinement.address_space_bytes()
        self._base_bytes = self._lua.get_memory_used(total=True)

    def rehearse(self, channel: Channel) -> None:
        """Do what Python does in every run, but for the end; a fork finds its code ready."""
        main, self._main = self._main, _rehearsed
        self._arm = confinement.rehearse
        self._hear(channel)
        self._main = main
        self._hostcall(b"begin", 0, 1 << 40, 0, 0, 0)
        self._lua.set_max_memory(0)
        self._arm = confinement.arm
        self._memory_bytes = self._output_bytes = self._result_bytes = 0
        self._hostcall(b"flush")
        self._tell(b"null", 0, 0.0)

    def run(self, channel: Channel) -> NoReturn:
        """Run one script. Leaves the process; the end is told on the channel."""
        try:
            self._hear(channel)
        except lua54.LuaMemoryError:
            self._die(b"memory_limit", 0, 0)
        finally:
            os._exit(EXIT_BROKEN)

    def _hear(self, channel: Channel) -> None:
        self._channel = channel
        self._main(channel.start())

    def _load_prelude(self) -> Any:
        sources = [_source(name) for name in PRELUDE]
        boot = self._lua.compile(_source("boot"), name="=\1boot", mode="t")
        return boot(
            self._hostcall,
            self._die,
            "\n".join(policy.names()).encode(),
            "\n".join(PRELUDE).encode(),
            b"".join(_U32.pack(len(source)) + source for source in sources),
        )

    # --- what Lua calls -----------------------------------------------------------------------

    def _hostcall(self, operation: bytes, *arguments: Any) -> bytes | int | None:
        try:
            return self._operations[operation](*arguments)
        except BaseException as failure:  # noqa: BLE001 (nothing may pass into Lua)
            _leave(failure)

    def _die(
        self, reason: bytes, spent: int, peak_kb: float, number: int = 0, text: bytes = b""
    ) -> None:
        try:
            self._fail(Reason(reason.decode()), spent, peak_kb, number, text)
            os._exit(0)
        except BaseException as failure:  # noqa: BLE001 (nothing may pass into Lua)
            _leave(failure)

    def _fail(self, reason: Reason, spent: int, peak_kb: float, number: int, text: bytes) -> None:
        peak = self._peak_bytes(peak_kb)
        line = None
        if text:
            message = text.decode("utf-8", "replace")
            line = number if number > 0 else None
            hint = faults.hint_for(reason, message)
        else:
            allowed = {
                Reason.MEMORY_LIMIT: self._memory_bytes,
                Reason.OUTPUT_LIMIT: self._output_bytes,
                Reason.RESULT_LIMIT: self._result_bytes,
            }.get(reason, number)
            message, hint = faults.limit_message(reason, allowed)
        if reason is Reason.MEMORY_LIMIT:
            peak = self._memory_bytes
        body = faults.failed_body(reason, message, line, hint)
        self._channel.failed(body, spent, peak)

    def _begin(self, cpu_ms: int, memory: int, output: int, result: int, reply: int) -> int:
        self._memory_bytes, self._output_bytes, self._result_bytes = memory, output, result
        room = confinement.room_bytes(self._mapped_bytes, memory, 4 * (reply + result))
        self._arm(cpu_ms, room)
        # Not before START is in the heap: lupa pushes arguments outside of any protected call,
        # where a failed allocation would abort the process.
        heap_bytes: int = self._base_bytes + memory
        self._lua.set_max_memory(heap_bytes, total=True)
        return heap_bytes

    def _print(self, text: bytes) -> None:
        room = self._output_bytes - self._printed_bytes
        self._channel.write(text[:room])
        self._printed_bytes += len(text)
        if len(text) > room:
            # The counts stand in Lua, which tells them next.
            self._channel.flush()

    def _flush(self) -> None:
        self._channel.flush()

    def _call(self, body: bytes) -> int:
        self._channel.send_call(body)
        return self._wait()

    def _send(self, body: bytes) -> int:
        return self._channel.send_call(body)

    def _wait(self) -> int:
        seq, ok, clock_ms, text = self._channel.reply()
        self._reply = _CLOCK.pack(clock_ms) + text
        return seq << 32 | len(text) << 1 | ok

    def _take(self) -> bytes:
        reply, self._reply = self._reply, b""
        return reply

    def _done(self, result: bytes, spent: int, peak_kb: float) -> NoReturn:
        self._tell(result, spent, peak_kb)
        os._exit(0)

    def _tell(self, result: bytes, spent: int, peak_kb: float) -> None:
        self._channel.done(result, spent, self._peak_bytes(peak_kb))

    def _peak_bytes(self, peak_kb: float) -> int:
        return max(0, min(int(peak_kb * 1024) - self._base_bytes, self._memory_bytes))


def _source(name: str) -> bytes:
    # Not by pathlib: see sandbox.kernel.proc.
    folder = os.path.dirname(__file__)  # noqa: PTH120
    with open(f"{folder}/prelude/{name}.lua", "rb") as file:  # noqa: PTH123
        return file.read()


def _rehearsed(start: bytes) -> None:
    """Stand for the prelude's main function where nothing is to be run."""


def _leave(failure: BaseException) -> NoReturn:
    if isinstance(failure, MemoryError):
        os._exit(EXIT_NO_MEMORY)
    os._exit(EXIT_HUNG_UP if isinstance(failure, HungUp | BrokenPipeError) else EXIT_BROKEN)


def _no_attributes(*_: object) -> NoReturn:
    raise AttributeError("no attributes")
