"""
Stock Lua 5.4 to compare with, in a process of its own: `python -m tests.stock_lua < code`.

Never in the test process: fakeredis loads another Lua with global symbols into it, and two Lua
versions in one process crash each other.
"""

from __future__ import annotations

import subprocess
import sys

from lupa import lua54


def stock_lua(code: str, given: bytes = b"") -> bytes:
    """Run a chunk with `given` as its argument and give the one string that it returns."""
    chunk = code.encode("latin-1")
    done = subprocess.run(
        [sys.executable, "-m", "tests.stock_lua"],
        input=len(chunk).to_bytes(4) + chunk + given,
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return done.stdout


def main() -> None:
    """Run what stands on stdin: the chunk after its length, then its argument."""
    data = sys.stdin.buffer.read()
    end = 4 + int.from_bytes(data[:4])
    lua = lua54.LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
    sys.stdout.buffer.write(lua.execute(data[4:end], data[end:]))


if __name__ == "__main__":
    main()
