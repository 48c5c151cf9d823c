"""A vendor in a process of its own: `python -m benchmarks.vendor` prints its port and serves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import orjson
import uvicorn
from starlette.types import Receive, Scope, Send

#: An asset as video services give it, about 900 bytes.
_ASSET = orjson.dumps(
    {
        "data": {
            "id": "a" * 44,
            "status": "ready",
            "duration": 23.857,
            "created_at": "1700000000",
            "aspect_ratio": "16:9",
            "playback_ids": [{"id": "p" * 44, "policy": "public"}],
            "tracks": [
                {"id": f"{kind}{'t' * 40}", "type": kind, "max_width": 1920, "max_height": 1080}
                for kind in ("video", "audio", "text")
            ],
            "meta": {"title": "A title", "creator_id": "c" * 24, "external_id": "e" * 24},
            "passthrough": "x" * 200,
        }
    }
)
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_ASSET)).encode()),
]


#: What is asked for below this path takes so long.
SLOW_PATH = "/v1/slow/"
SLOW_S = 2.0


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    if scope["path"].startswith(SLOW_PATH):
        await asyncio.sleep(SLOW_S)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ASSET})


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Serve in another process until the block is left, and give the address."""
    command = [sys.executable, "-m", "benchmarks.vendor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def _main() -> None:
    # Named as TCP, or asyncio leaves Nagle's algorithm on.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1_024)
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(
            _answer, backlog=1_024, http="h11", ws="none", lifespan="off", log_config=None,
            access_log=False, interface="asgi3",
        )  # fmt: skip
        asyncio.run(uvicorn.Server(config).serve([listener]))


if __name__ == "__main__":
    _main()
