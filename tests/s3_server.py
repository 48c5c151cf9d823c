"""
A bucket on the loopback, as far as the archive asks for one.

It can be told to fail: to answer nothing before a request was carried out, or after.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"
_PAGE = 50
_STAMP = "2026-01-01T00:00:00.000Z"


@dataclass
class Bucket:
    """Objects by key. `fault` gives `before`, `after` or nothing for a method and a key."""

    port: int = 0
    honours_conditions: bool = True
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    fault: Callable[[str, str], str | None] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def environment(self) -> dict[str, str]:
        """Give the variables by which a client finds it."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
        }


@contextmanager
def s3_server() -> Iterator[Bucket]:
    """Serve a bucket as long as the block runs."""
    bucket = Bucket()
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        bucket.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield bucket
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: ClassVar[Bucket]

    def _serve(self) -> None:
        body = self._body()
        split = urlsplit(self.path)
        key = unquote(split.path).removeprefix(f"/{BUCKET}").lstrip("/")
        query = {name: values[0] for name, values in parse_qs(split.query, True).items()}
        with self.bucket.lock:
            self.bucket.requests.append((self.command, key))
            fault = self.bucket.fault and self.bucket.fault(self.command, key)
        if fault == "before":
            self.close_connection = True
            return
        with self.bucket.lock:
            status, headers, data = self._carry_out(key, query, body)
        if fault == "after":
            self.close_connection = True
            return
        self._answer(status, headers, data)

    do_GET = do_PUT = do_HEAD = do_POST = _serve  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _carry_out(
        self, key: str, query: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if self.command == "POST" and "delete" in query:
            return 200, {}, self._delete(body)
        if self.command == "GET" and "list-type" in query:
            return 200, {"Content-Type": "application/xml"}, self._list(query)
        if self.command == "PUT":
            return self._put(key, body)
        return self._get(key)

    def _get(self, key: str) -> tuple[int, dict[str, str], bytes]:
        data = self.bucket.objects.get(key)
        if data is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        headers = {"ETag": _etag(data), "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        ranged = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if ranged:
            first, last = int(ranged[1]), min(int(ranged[2]), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return 206, headers, data[first : last + 1]
        return 200, headers, data

    def _put(self, key: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        there = self.bucket.objects.get(key)
        match, none = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        if self.bucket.honours_conditions:
            if none == "*" and there is not None:
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            if match is not None and (there is None or match != _etag(there)):
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        self.bucket.objects[key] = body
        return 200, {"ETag": _etag(body)}, b""

    def _delete(self, body: bytes) -> bytes:
        gone = [unquote(one) for one in re.findall(r"<Key>([^<]*)</Key>", body.decode())]
        for one in gone:
            self.bucket.objects.pop(one, None)
        told = "".join(f"<Deleted><Key>{escape(one)}</Key></Deleted>" for one in gone)
        return f"<DeleteResult>{told}</DeleteResult>".encode()

    def _list(self, query: dict[str, str]) -> bytes:
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = [
            key
            for key in sorted(self.bucket.objects)
            if key.startswith(query.get("prefix", "")) and key > after
        ]
        page = keys[:_PAGE]
        told = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.bucket.objects[key])}</Size>"
            f"<LastModified>{_STAMP}</LastModified>"
            f"<ETag>{escape(_etag(self.bucket.objects[key]))}</ETag></Contents>"
            for key in page
        )
        more = len(keys) > len(page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{told}</ListBucketResult>"
        ).encode()

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
