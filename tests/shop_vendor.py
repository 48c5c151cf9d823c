"""A vendor whose things have ids that nobody can foresee, and that counts what was done to them."""

from __future__ import annotations

import json
import secrets
import threading
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PACK = r"""
format: 1
name: shop
title: Shop
summary: A shop that counts what is done to it.
homepage: https://shop.example
guide: shop.md
credentials:
  key: {label: API key, secret: true, required: true}
  url: {label: Address}
auth: {scheme: bearer, token: key}
host: {default: "https://api.shop.example", field: url}
retry: {attempts: 1}
errors: {message: [message]}
functions:
  - name: stock
    title: Stock
    effect: read
    description: Count what there is.
    request: {method: GET, path: /stock}
    example:
      lua: return app.integrations.shop.stock({})
      reply: {count: 3}
  - name: get
    title: Get
    effect: read
    description: Get one thing.
    parameters:
      properties:
        id: {type: string, description: Id of the thing.}
      required: [id]
    request: {method: GET, path: "/things/{id}"}
    example:
      lua: return app.integrations.shop.get({ id = "t-1" })
      arguments: {id: t-1}
      reply: {id: t-1, title: A thing, owner_id: o-1}
  - name: create
    title: Create
    effect: write
    description: Make a thing.
    parameters:
      properties:
        title: {type: string, description: Its title.}
        password: {type: string, description: Its password.}
      required: [title]
    request: {method: POST, path: /things, body: {title: title, password: password}}
    example:
      lua: return app.integrations.shop.create({ title = "A thing" })
      arguments: {title: A thing}
      reply:
        data: {id: t-1, title: A thing, status: new}
        upload_url: "https://up.shop.example/u/abc?signature=xyz"
  - name: rename
    title: Rename
    effect: write
    description: Give a thing another title.
    parameters:
      properties:
        id: {type: string, description: Id of the thing.}
        title: {type: string, description: Its new title.}
      required: [id, title]
    request: {method: POST, path: "/things/{id}", body: {title: title}}
    example:
      lua: return app.integrations.shop.rename({ id = "t-1", title = "Another" })
      arguments: {id: t-1, title: Another}
      reply: {id: t-1, title: Another}
  - name: remove
    title: Remove
    effect: write
    description: Take a thing away.
    parameters:
      properties:
        id: {type: string, description: Id of the thing.}
      required: [id]
    request: {method: DELETE, path: "/things/{id}"}
    example:
      lua: return app.integrations.shop.remove({ id = "t-1" })
      arguments: {id: t-1}
      reply: null
"""


class ShopVendor:
    """
    Listens on loopback. `did` counts requests by what they asked for, `things` are those made.

    `refuse` makes every write fail with 422. While `held` is set, who asks for the stock waits;
    `struck` tells that somebody does. `settings` are those of a worker whose tenant has an
    account here, `accounts` the same for a run without a service.
    """

    def __init__(self, directory: Path, tenant: str) -> None:
        self.did: Counter[str] = Counter()
        self.things: dict[str, dict[str, Any]] = {}
        self.refuse = False
        self.stock = 3
        self.held = threading.Event()
        self.struck = threading.Event()
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.packs = directory / "packs"
        self.packs.mkdir(parents=True)
        (self.packs / "shop.yaml").write_text(PACK)
        (self.packs / "shop.md").write_text("# Shop\n\nThings.\n")
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        fields = f'key = "k-e-y-of-the-shop"\nurl = "{url}"\n'
        self.accounts = directory / "shop.toml"
        section = "shop" if tenant == "development" else f"tenants.{tenant}.shop"
        self.accounts.write_text(f"[shop.default]\n{fields}")
        if section != "shop":
            self.accounts.write_text(f"[shop.default]\n{fields}\n[{section}.default]\n{fields}")
        self.settings: dict[str, Any] = {"accounts": self.accounts, "packs_dir": self.packs}

    @property
    def writes(self) -> int:
        """Count what was written."""
        return sum(count for what, count in self.did.items() if what not in {"stock", "get"})

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
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def handle(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Do what a request asks for."""
        if path == "/stock" and self.held.is_set():
            self.struck.set()
            self.released.wait(60)
        with self._lock:
            return self._handle(method, path.strip("/").split("/"), body)

    def _handle(self, method: str, path: list[str], body: Any) -> tuple[int, Any]:
        if path == ["stock"]:
            self.did["stock"] += 1
            return 200, {"count": self.stock}
        thing = path[1] if len(path) > 1 else None
        what = {"GET": "get", "DELETE": "remove"}.get(method) or ("rename" if thing else "create")
        self.did[what] += 1
        if self.refuse and what != "get":
            return 422, {"message": "not today"}
        if thing is not None and thing not in self.things:
            return 404, {"message": "no such thing"}
        if what == "create":
            made = secrets.token_hex(6)
            self.things[made] = dict(body)
            url = f"https://up.shop.example/u/{secrets.token_hex(4)}"
            data = {"id": made, "title": body["title"], "status": "ready"}
            return 200, {"data": data, "upload_url": url}
        assert thing is not None
        if what == "remove":
            del self.things[thing]
            return 200, None
        if what == "rename":
            self.things[thing]["title"] = body["title"]
        return 200, {"id": thing, "title": self.things[thing]["title"], "owner_id": "o-9"}


def _handler_of(shop: ShopVendor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_DELETE(self) -> None:
            self._answer("DELETE")

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, method: str) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, value = shop.handle(method, self.path, body)
            text = json.dumps(value).encode()
            with suppress(OSError):  # whoever asked may have been killed
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

    return Handler
