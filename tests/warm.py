"""
Starting processes of ours warm, see `tests.warm_host`: most of a start is to load libraries.

What an interpreter looks at when it starts cannot be changed in a fork, so who sets that is started
cold. Cold are also those that tests start themselves, one of each kind at least.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
_STANDARD = (0, 1, 2)
#: What a fork takes over from its environment by itself.
_TAKEN = {"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
_one_at_a_time = threading.Lock()


class WarmProcess:
    """A running process: what tests use of `subprocess.Popen`."""

    def __init__(self, pid: int, ended: int, arguments: Sequence[str]) -> None:
        self.pid = pid
        self.args = list(arguments)
        self.returncode: int | None = None
        self._ended = ended

    def wait(self, timeout: float | None = None) -> int:
        """
        Wait for the end; give the exit code, negative when a signal ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        if self.returncode is None:
            waiting = select.poll()
            waiting.register(self._ended, select.POLLIN)
            if not waiting.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            told = os.read(self._ended, 16)
            assert told, "the host of warm processes is gone"
            os.close(self._ended)
            self.returncode = int(told)
        return self.returncode

    def poll(self) -> int | None:
        """Give the exit code, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def start(
    module: str,
    *arguments: str | bytes,
    env: Mapping[str, str],
    cwd: Path | None = None,
    streams: Sequence[int] = _STANDARD,
    pass_fds: Sequence[int] = (),
) -> WarmProcess:
    """
    Start what `python -m MODULE ARGUMENTS` is, on the descriptors `streams` and `pass_fds`.

    `cwd` is this project's directory when it is not given.
    """
    texts = [os.fsdecode(one) for one in arguments]
    asked = {
        "module": module,
        "arguments": texts,
        "env": dict(env),
        "cwd": str(cwd or ROOT),
        "pass_fds": list(pass_fds),
    }
    ended, tell = os.pipe()
    try:
        with _written(json.dumps(asked).encode()) as request, _one_at_a_time:
            control = _host()
            socket.send_fds(control, [b"+"], [request, tell, *streams, *pass_fds])
            pid = int(control.recv(16))
    finally:
        os.close(tell)
    return WarmProcess(pid, ended, [module, *texts])


def run(
    module: str,
    *arguments: str | bytes,
    env: Mapping[str, str],
    stdin: bytes = b"",
    cwd: Path | None = None,
    seconds: float = 45,
) -> subprocess.CompletedProcess[bytes]:
    """
    Run what `python -m MODULE ARGUMENTS` is to its end.

    Raises:
        subprocess.TimeoutExpired: it was killed after `seconds`.
    """
    command = [sys.executable, "-m", module, *arguments]
    if _is_cold(env):
        return subprocess.run(
            command, input=stdin, env=dict(env), cwd=cwd, capture_output=True, timeout=seconds,
            check=False,
        )  # fmt: skip
    with _written(b"") as out, _written(b"") as err, _fed(stdin) as source:
        process = start(module, *arguments, env=env, cwd=cwd, streams=(source, out, err))
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        texts = [os.pread(one, os.fstat(one).st_size, 0) for one in (out, err)]
    return subprocess.CompletedProcess(command, code, *texts)


def _is_cold(env: Mapping[str, str]) -> bool:
    return any(
        name.startswith(("PYTHON", "LC_", "LANG", "SSL_CERT_"))
        and name not in _TAKEN
        and os.environ.get(name) != value
        for name, value in env.items()
    )


@functools.cache
def _host() -> socket.socket:
    """Start the host, once; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.warm_host", str(theirs.fileno())]
        host = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT)
    atexit.register(_end, host, ours)
    return ours


def _end(host: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    host.wait()


@contextlib.contextmanager
def _written(content: bytes) -> Iterator[int]:
    file = os.memfd_create("warm")
    try:
        os.write(file, content)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _fed(content: bytes) -> Iterator[int]:
    """Give the end of a pipe to read `content` from."""
    source, sink = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(sink, "wb") as pipe:  # noqa: PTH123
            pipe.write(content)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield source
    finally:
        os.close(source)
        feeder.join()
