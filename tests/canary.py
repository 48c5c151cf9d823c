"""Searching for credentials: every form one may take, in everything that is kept or shown."""

from __future__ import annotations

import json
import re
import sqlite3
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import redis

from integrations.stubs.server import STUBS
from tests.shipped import CATALOG

#: A piece of text and where it is from.
Text = tuple[str, bytes]
#: What every secret that a test makes up begins with.
MARK = b"canary-"
#: Files whose purpose is to hold credentials.
HOMES = (".toml", ".keys", ".secret")
#: The local service keeps its own API key there, for its owner's commands.
_LOCAL_STATE = "serve.json"
_API_KEY = re.compile(rb"ms_live_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")


def forms(secret: str, user: str | None = None) -> set[bytes]:
    """Give a secret as it is and as others may write it; `user` is who it is basic auth with."""
    raw = secret.encode()
    found = {raw, orjson.dumps(secret)[1:-1], json.dumps(secret)[1:-1].encode()}
    found |= {repr(secret)[1:-1].encode(), repr(raw)[2:-1].encode()}
    found |= {raw.hex().encode(), raw.hex().upper().encode(), raw[::-1]}
    found |= {one.encode() for one in (quote(raw), quote(raw, safe=""), quote_plus(raw))}
    for encode in (b64encode, urlsafe_b64encode):
        # At each of the three places in a longer text, without the digits it shares with others.
        for pad in range(3):
            text = encode(bytes(pad) + raw).rstrip(b"=")
            found.add(text[-(-pad * 8 // 6) : len(text) - 1])
        if user is not None:
            found.add(encode(f"{user}:{secret}".encode()).rstrip(b"="))
    # Quoted in a text that is quoted again.
    return found | {json.dumps(one.decode())[1:-1].encode() for one in found if one.isascii()}


def stub_secrets() -> set[bytes]:
    """Give every form of every secret of the stand-ins' accounts."""
    catalog = CATALOG
    found: set[bytes] = set()
    for name, make in STUBS.items():
        pack = catalog.integrations[name].pack
        assert pack is not None
        for fields in make().accounts("http://stub").values():
            user = fields[pack.auth.username] if pack.auth.scheme == "basic" else None
            for field, value in fields.items():
                if pack.credentials[field].secret:
                    found |= forms(value, user)
    return found


def found_in(texts: Iterable[Text], secrets: set[bytes]) -> list[str]:
    """Give where a secret or a whole API key stands, with what is around it taken out."""
    kept = list(texts)
    whole = b"\n".join(text for _, text in kept)
    seen = [one for one in secrets if one in whole]
    if not seen and not _API_KEY.search(whole):
        return []
    return [
        where for where, text in kept if any(one in text for one in seen) or _API_KEY.search(text)
    ]


def stored(client: redis.Redis) -> Iterator[Text]:
    """Give everything that Redis holds, of every type."""
    reads: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    for key in client.scan_iter(count=1000):
        kind: Any = client.type(key)
        if kind != b"none":  # it ended meanwhile
            for one in _leaves(reads[kind](key)):
                yield f"redis {key!r}", key + b" " + one


def files(directory: Path) -> Iterator[Text]:
    """Give every file but those that are meant to hold credentials."""
    for path in sorted(directory.rglob("*")):
        home = path.suffix in HOMES or path.name == _LOCAL_STATE
        if path.is_file() and not path.is_symlink() and not home:
            try:
                found = path.read_bytes()
            except FileNotFoundError:  # removed meanwhile
                continue
            yield f"file {path.relative_to(directory)}", found


def archived(path: Path) -> Iterator[Text]:
    """Give every value of an SQLite file: the file itself has long ones in pieces."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.text_factory = bytes
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
            name = table.decode()
            for row in db.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 (a name of its own)
                for one in row:
                    if isinstance(one, bytes):
                        yield f"archive {name}", one


def processes(pids: Iterable[int]) -> Iterator[Text]:
    """Give command lines and environments of those that still live."""
    for pid in pids:
        for name in ("cmdline", "environ"):
            try:
                yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue


def memory(pid: int) -> Iterator[Text]:
    """Give what a process has written in its memory, if we may read it."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
            for line in maps:
                span, rights = line.split()[:2]
                start, end = (int(one, 16) for one in span.split("-"))
                if rights.startswith("rw"):
                    try:
                        mem.seek(start)
                        yield f"memory of {pid}", mem.read(end - start)
                    except (OSError, ValueError, OverflowError):
                        continue
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return


def _leaves(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _leaves(list(pair))
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _leaves(one)
