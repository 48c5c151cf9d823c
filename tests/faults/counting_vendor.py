"""A vendor that counts what was really done, and can be held in the middle of a request."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PACK = r"""
format: 1
name: till
title: Till
summary: A till that counts what is paid.
homepage: https://till.example
guide: till.md
credentials:
  key: {label: API key, secret: true, required: true}
  url: {label: Address}
auth: {scheme: bearer, token: key}
host: {default: "https://api.till.example", field: url}
retry: {attempts: 1}
errors: {message: [message]}
functions:
  - name: price
    title: Price
    effect: read
    description: Ask for a price.
    parameters:
      properties:
        tag: {type: string}
      required: [tag]
    request: {method: GET, path: "/prices/{tag}"}
    example:
      lua: return app.integrations.till.price({ tag = "a" })
      arguments: {tag: a}
      reply: {value: 1}
  - name: pay
    title: Pay
    effect: write
    description: Pay, once for each request.
    parameters:
      properties:
        tag: {type: string}
      required: [tag]
    request: {method: POST, path: /payments, body: {tag: tag}}
    example:
      lua: return app.integrations.till.pay({ tag = "a" })
      arguments: {tag: a}
      reply: {value: 1}
  - name: pay_once
    title: Pay once
    effect: write
    description: Pay, once for each key.
    idempotency: {header: Idempotency-Key}
    parameters:
      properties:
        tag: {type: string}
      required: [tag]
    request: {method: POST, path: /payments, body: {tag: tag}}
    example:
      lua: return app.integrations.till.pay_once({ tag = "a" })
      arguments: {tag: a}
      reply: {value: 1}
"""


class Hold(Enum):
    """What becomes of the request at which the vendor is held."""

    BEFORE = "it is never done"
    AFTER = "it is done, and the answer never leaves"


class CountingVendor:
    """
    Listens on loopback. `done` counts what was paid, by tag; `keys` the idempotency keys seen.

    With another `address` of this machine it is there for hosts that have a relay to it.
    `arm(hold, nth)` holds the nth request from now: `struck` is set, and it goes no further until
    `release`. `settings` are those of a worker whose tenant has an account here.
    """

    def __init__(self, directory: Path, tenant: str, *, address: str = "127.0.0.1") -> None:
        self.done: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self.struck = threading.Event()
        self._release = threading.Event()
        self._answer = False
        self._armed: tuple[Hold, int] | None = None
        self._lock = threading.Lock()
        self._server = _Quiet((address, 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        packs = directory / "packs"
        packs.mkdir(parents=True)
        (packs / "till.yaml").write_text(PACK)
        (packs / "till.md").write_text("# Till\n\nPay.\n")
        accounts = directory / "till.toml"
        self.port = int(self._server.server_address[1])
        url = f"http://127.0.0.1:{self.port}"
        accounts.write_text(f'[tenants.{tenant}.till.default]\nkey = "k-e-y-1"\nurl = "{url}"\n')
        self.settings: dict[str, Any] = {"accounts": accounts, "packs_dir": packs}

    def arm(self, hold: Hold, nth: int = 1) -> None:
        """Hold the `nth` request from now."""
        self.struck.clear()
        self._release.clear()
        with self._lock:
            self._armed = hold, nth

    def release(self, *, answer: bool = False) -> None:
        """Let the held request end, without an answer or, for a worker that lives, with one."""
        self._answer = answer
        self._release.set()

    def __enter__(self) -> Self:
        """Start to listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self._release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def handle(self, tag: str, key: str | None, *, write: bool) -> dict[str, Any] | None:
        """Do what a request asks for; None: hang up without an answer."""
        hold = self._held()
        if hold is Hold.BEFORE:
            self.struck.set()
            self._release.wait(60)
            if not self._answer:
                return None
        with self._lock:
            self.asked[tag] += 1
            if write and (key is None or key not in self.keys):
                self.done[tag] += 1
            if key is not None:
                self.keys[key] = tag
        if hold is Hold.AFTER:
            self.struck.set()
            self._release.wait(60)
            if not self._answer:
                return None
        return {"value": len(tag), "tag": tag}

    def _held(self) -> Hold | None:
        with self._lock:
            if self._armed is None:
                return None
            hold, nth = self._armed
            self._armed = None if nth == 1 else (hold, nth - 1)
            return hold if nth == 1 else None


class _Quiet(ThreadingHTTPServer):
    """Says nothing of clients that were killed in the middle of a request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


def _handler_of(vendor: CountingVendor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(vendor.handle(self.path.rpartition("/")[2], None, write=False))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            key = self.headers.get("idempotency-key")
            self._answer(vendor.handle(body["tag"], key, write=True))

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, value: dict[str, Any] | None) -> None:
            self.close_connection = value is None
            if value is None:
                return
            body = json.dumps(value).encode()
            with suppress(OSError):
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    return Handler
