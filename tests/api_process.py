"""The API in a process of its own, for tests that kill it or send it signals."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MAIN = (
    "import socket, sys\n"
    "from api.main import run_api\n"
    "from core.settings import load_settings\n"
    "fd = int(sys.argv[1])\n"
    "sys.exit(run_api(load_settings(), listener=socket.socket(fileno=fd)))\n"
)


@contextmanager
def api_process(redis_url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the API in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(listener.fileno())],
            env={"PATH": os.environ["PATH"], "REDIS_URL": redis_url},
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()
