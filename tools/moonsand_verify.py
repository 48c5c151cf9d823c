#!/usr/bin/env python3
"""
Verifies what Moonsand's ledger says, offline: an archive, a receipt, or a bundle of one run.

    python moonsand_verify.py PATH --key NAME+HASH+BASE64 [--from CHECKPOINT] [--vault-keys FILE]

It is one file, needs Python 3.11 and the package `cryptography`, and shares no code with the
service: who does not trust the service can read all of it. Exit code 0: everything holds; 1:
something does not, and a line says what; 2: nothing was verified. docs/audit.md says what is
covered.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import re
import sqlite3
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

WIDTH = 256
TABLES = {
    "meta": "name value",
    "leaves": "idx data inbox kind subject tenant at_ms",
    "tiles": "level idx data",
    "tape_entries": "tape seq data",
    "payloads": "id tenant run at_ms key data",
    "data_keys": "tenant record",
    "checkpoints": "size note",
    "staged": "id",
}
TOLD_BY_DIGEST = {hashlib.sha256(one).hexdigest() for one in (b"", b"null", b"true", b"false")}
EFFECTS = ("succeeded", "failed", "denied", "unknown", "planned")
TERMS = ("key", "script_sha256", "seed", "mode", "limits", "grants")
Fields = dict[str, Any]


class Mistake(Exception):
    """What was given cannot be verified at all."""


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def hexdigest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refuse(text: str) -> Any:
    """Refuse NaN and Infinity, which are no JSON."""
    raise ValueError(text)


def read_json(data: bytes | str) -> Fields:
    """Read a JSON object; what is none reads as empty, and then holds nothing."""
    try:
        found = json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text_of(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


# --- checkpoints: C2SP signed notes ------------------------------------------------------------


#: What a column of another type than it may be makes of reading it.
WRONG_TYPE = (AttributeError, TypeError, ValueError)


def exactly(encoded: str) -> bytes:
    """Decode base64 in the only spelling of its bytes; ValueError if it is another."""
    data = base64.b64decode(encoded, validate=True)
    if base64.b64encode(data).decode() != encoded:
        raise ValueError
    return data


class LogKey:
    """The log's public key, as `NAME+HASH+BASE64`."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.name, _, rest = self.text.partition("+")
        digest, _, encoded = rest.partition("+")
        try:
            data = exactly(encoded)
            self.id = sha(self.name.encode() + b"\n" + data)[:4]
            if data[:1] != b"\x01" or self.id.hex() != digest:
                raise ValueError
            self.key = Ed25519PublicKey.from_public_bytes(data[1:])
        except ValueError:
            raise Mistake("the key is none: NAME+HASH+BASE64, of Ed25519") from None

    def open(self, note: str) -> tuple[int, bytes]:
        """Give size and root that a note signs; ValueError if it is not of this log."""
        body, gap, tail = note.rpartition("\n\n")
        if not gap or not any(self._signs(f"{body}\n", line) for line in tail.split("\n")):
            raise ValueError(f"it has no good signature of {self.name}")
        lines = f"{body}\n".split("\n")
        if len(lines) < 4 or lines[0] != self.name or not lines[1].isascii():
            raise ValueError("it is no checkpoint of this log")
        root = exactly(lines[2])
        if not lines[1].isdigit() or str(int(lines[1])) != lines[1] or len(root) != 32:
            raise ValueError("it is no checkpoint")
        return int(lines[1]), root

    def _signs(self, text: str, line: str) -> bool:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        try:
            data = exactly(encoded)
            if (dash, name, data[:4]) != ("\u2014", self.name, self.id):
                return False
            self.key.verify(data[4:], text.encode())
        except (ValueError, InvalidSignature):
            return False
        return True


class LogKeys:
    """All keys of one log, one a line: those that were replaced too."""

    def __init__(self, text: str) -> None:
        self.keys = [LogKey(line) for line in text.splitlines() if line.strip()]
        if len({key.name for key in self.keys}) != 1:
            raise Mistake("keys of one log are wanted, one a line")
        self.name = self.keys[0].name

    def open(self, note: str) -> tuple[int, bytes]:
        return (self.signers(note) or self.keys)[0].open(note)

    def signers(self, note: str) -> list[LogKey]:
        signed = []
        for key in self.keys:
            try:
                key.open(note)
            except ValueError:
                continue
            signed.append(key)
        return signed


# --- the tree: RFC 6962, all levels in memory --------------------------------------------------


class Tree:
    """`levels[k][n]` is the hash of the complete subtree of 2**k leaves with number n."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [leaves]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            pairs = zip(below[::2], below[1::2], strict=False)
            self.levels.append([sha(b"\x01" + left + right) for left, right in pairs])

    def root(self, size: int) -> bytes:
        """Give the root at an earlier size: the complete subtrees it has, joined from the right."""
        parts, at = [], 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                parts.append(self.levels[level][at >> level])
                at += 1 << level
        if not parts:
            return sha(b"")
        made = parts.pop()
        while parts:
            made = sha(b"\x01" + parts.pop() + made)
        return made

    def tiles(self) -> Iterator[tuple[int, int, bytes]]:
        for level, hashes in enumerate(self.levels[::8]):
            for at in range(0, len(hashes), WIDTH):
                yield level, at // WIDTH, b"".join(hashes[at : at + WIDTH])


def included(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes | None:
    """Give the root that a proof leads to; RFC 9162, 2.1.3.2, by recursion from the top."""
    if size == 1:
        return leaf if not proof and index == 0 else None
    if not proof or not 0 <= index < size:
        return None
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        left = included(leaf, index, half, proof[:-1])
        return left and sha(b"\x01" + left + proof[-1])
    right = included(leaf, index - half, size - half, proof[:-1])
    return right and sha(b"\x01" + proof[-1] + right)


# --- one run -----------------------------------------------------------------------------------


def commitment(salt: str, label: str, digest: str) -> str:
    return hmac.new(bytes.fromhex(salt), f"{label}:{digest}".encode(), "sha256").hexdigest()


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef")


def fact(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= 200 else None
    return value if isinstance(value, bool | int | float) else None


def small(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) > 12:
        return None
    kept = {k: v for k, v in value.items() if len(k) <= 40}
    return {k: v for k, v in kept.items() if v is None or fact(v) is not None}


def quoted(value: Any) -> Any:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return value if len(text) <= 8192 else {"sha256": hexdigest(text)}


def without_schemas(grants: Any) -> Any:
    if isinstance(grants, list):
        return [without_schemas(one) for one in grants]
    if not isinstance(grants, dict):
        return grants
    return {k: "limited" if k == "arguments" else without_schemas(v) for k, v in grants.items()}


def check_lines(leaf: Fields, lines: list[bytes]) -> Iterator[str]:
    """Hold the end of a run to the lines of its tape."""
    named = leaf.get("tape")
    if not isinstance(named, dict):
        if lines or named is not None:
            yield "it names no tape, or a malformed one"
        return
    read = [read_json(line) for line in lines]
    root = Tree([sha(b"\x00" + line) for line in lines]).root(len(lines)).hex()
    if (named.get("root"), named.get("entries")) != (root, len(lines)):
        yield "its tape is not the one whose root it names"
    if any(line.get("run") != leaf.get("id") for line in read):
        yield "a line of its tape is of another run"
    numbers = [line.get("seq") for line in read]
    if named.get("whole") is True and numbers != list(range(1, len(read) + 1)):
        yield "its tape has a gap"
    facts = [(one.get("kind"), one.get("facts") or {}) for one in read]
    begun: set[Any] = set()
    calls: Counter[str] = Counter()
    for kind, told in facts:
        if kind == "intent":
            begun.add(told.get("seq"))
        elif kind == "effect":
            begun.discard(told.get("seq"))
            known = told.get("effect") in EFFECTS
            calls[told["effect"] if known else "other"] += 1
    if leaf.get("calls") != {**calls, "open": len(begun)}:
        yield "its calls are not those of its tape"
    workers = list(dict.fromkeys(str(t.get("worker")) for kind, t in facts if kind == "started"))
    end: Fields = ([told for kind, told in facts if kind == "finished"] or [{}])[-1]
    said = (leaf.get("workers"), leaf.get("reason"), leaf.get("attempt"))
    if said != (workers[:16], end.get("reason"), end.get("attempt")):
        yield "its workers, reason or attempt are not those of its tape"


def check_bodies(leaf: Fields, bodies: dict[int, tuple[str, bytes]]) -> Iterator[str]:
    """Hold the end of a run to the bodies of its tape, as far as they are known."""
    first = [read_json(body) for _, (kind, body) in sorted(bodies.items()) if kind == "accepted"]
    last = [read_json(body) for _, (kind, body) in sorted(bodies.items()) if kind == "finished"]
    begin, end = (first or [{}])[0], (last or [{}])[-1]
    if begin:
        meant: Fields = {name: fact(begin.get(name)) for name in ("script_sha256", "seed", "mode")}
        meant["limits"] = quoted(begin.get("limits"))
        meant["grants"] = quoted(without_schemas(begin.get("grants")))
        for name, value in (meant | {"key": fact(begin.get("key_id"))}).items():
            if leaf.get(name) != value:
                yield f"its {name} is not that of its tape"
    for name in ("usage", "versions") if end else ():
        if leaf.get(name) != small(end.get(name)):
            yield f"its {name} is not that of its tape"
    for name, body in (("input", begin), ("result", end), ("output", end)):
        digest, salt = str(body.get(f"{name}_sha256")), str(begin.get("salt"))
        known = is_digest(digest) and is_digest(salt)
        if known and commitment(salt, name, digest) != leaf.get(name):
            yield f"its {name} is not that of its tape"


def check_receipt(receipt: Fields, key: LogKeys) -> Iterator[str]:
    """Verify a receipt; the last leaf of a run's end is what it proves."""
    end: Fields = {}
    try:
        size, root = key.open(receipt["checkpoint"])
        for one in receipt["leaves"]:
            data, proof = one["leaf"].encode(), [bytes.fromhex(step) for step in one["proof"]]
            if included(sha(b"\x00" + data), one["index"], size, proof) != root:
                yield f"leaf {one['index']} is not in the log as it was signed"
            leaf = read_json(data)
            if leaf.get("id") != receipt["run"]:
                yield f"leaf {one['index']} is about something else"
            end = leaf if leaf.get("kind") == "run.finished" else end
        if end:
            yield from check_lines(end, [line.encode() for line in receipt["tape"]])
        else:
            yield "there is no leaf of the run's end"
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        yield f"this receipt cannot be read, or its checkpoint: {error}"


def check_bundle(rows: list[Fields], key: LogKeys) -> Iterator[str]:
    """Verify a bundle: its receipt, and every part against it."""
    receipt, parts = rows[0].get("receipt"), {str(one.get("part")): one for one in rows}
    if not isinstance(receipt, dict):
        yield "the bundle has no receipt: nothing in it is proved"
        return
    found = list(check_receipt(receipt, key))
    yield from found
    if found:
        return
    entries = [one for one in rows if one.get("part") == "entry"]
    if rows[-1] != {"part": "end", "entries": len(entries)} or rows[0].get("run") != receipt["run"]:
        yield "the bundle is cut off, or its receipt is of another run"
    if len(entries) != len(receipt["tape"]):
        yield "the bundle has not as many entries as the tape in its receipt"
    bodies: dict[int, tuple[str, bytes]] = {}
    for entry, text in zip(entries, receipt["tape"], strict=False):
        line, body = read_json(text), text_of(entry, "body").encode()
        if any(line.get(name) != entry.get(name) for name in ("seq", "kind", "at_ms")):
            yield f"entry {entry.get('seq')} is not that of the ledger"
        salt = text_of(entry, "salt")
        if not is_digest(salt) or entry.get("redacted"):
            continue  # told below: such an entry is not bound
        if hexdigest(bytes.fromhex(salt) + body) != line.get("body"):
            yield f"entry {entry.get('seq')} was changed"
        bodies[line["seq"]] = (str(line.get("kind")), body)
    told = [read_json(one["leaf"]) for one in receipt["leaves"]]
    leaf = [one for one in told if one.get("kind") == "run.finished"][-1]
    yield from check_bodies(leaf, bodies)
    tape = [read_json(body) for _, (_, body) in sorted(bodies.items())]
    for name in ("script", "input", "surface", "result", "output"):
        digests = {one[f"{name}_sha256"] for one in tape if one.get(f"{name}_sha256")}
        digests |= {leaf.get(f"{name}_sha256")} - {None}
        text = text_of(parts.get(name, {}), "text")
        if name in parts and digests and hexdigest(text.encode()) not in digests:
            yield f"the {name} in the bundle is not the one in the ledger"


# --- an archive --------------------------------------------------------------------------------


class Payloads:
    """Opens payloads: in the clear, or with the master keys of the vault."""

    def __init__(self, masters: dict[str, bytes], records: dict[str, bytes]) -> None:
        self.masters, self.unopened = masters, 0
        self.ids = {tenant: text_of(read_json(one), "id") for tenant, one in records.items()}
        self.keys: dict[str, bytes] = {}
        self.faults: list[str] = []
        for tenant, record in records.items() if masters else ():
            row = read_json(record)
            place = ("data-key", tenant, row.get("id"), row.get("master"))
            try:
                wrapped = exactly(row["wrapped"])
                self.keys[tenant] = self._decrypt(masters[row["master"]], wrapped, place)
            except (KeyError, TypeError, ValueError, InvalidTag):
                self.faults.append(f"the data key of {tenant} does not open")

    def open(self, row: Fields) -> bytes | None:
        """Give the bytes, None without a master key; ValueError if they do not open."""
        key_id, tenant = row["key"], row["tenant"]
        if not key_id:
            return bytes(row["data"])
        if self.ids.get(tenant) != key_id:
            raise ValueError("it is sealed with a key that is not there")
        if not self.masters:
            self.unopened += 1
            return None
        try:
            place = ("payload", tenant, key_id, row["id"])
            return self._decrypt(self.keys[tenant], row["data"], place)
        except (KeyError, InvalidTag):
            raise ValueError("it does not open") from None

    @staticmethod
    def _decrypt(key: bytes, data: bytes, place: tuple[Any, ...]) -> bytes:
        if data[:1] != b"\x01":
            raise ValueError("it is not sealed as it should be")
        about = ["moonsand-vault-1", *place]
        return AESGCM(key).decrypt(
            data[1:13],
            data[13:],
            json.dumps(about, separators=(",", ":"), ensure_ascii=False).encode(),
        )


class Archive:
    """An archive in SQLite, or the log alone as a directory of tiles. Of objects: `Objects`."""

    def __init__(self, path: Path) -> None:
        self.db: sqlite3.Connection | None = None
        self.directory = path
        file = path / "archive.db" if path.is_dir() else path
        if not file.is_file():
            if not (path / "checkpoint").is_file():
                raise Mistake(f"there is no archive at {path}")
            return
        wal = file.with_name(f"{file.name}-wal").exists()
        uri = f"{file.absolute().as_uri()}?mode=ro"
        try:
            self.db = sqlite3.connect(uri, uri=True, isolation_level=None)
            self.db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError:
            if wal:
                raise
            self.db = sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
        self.db.execute("BEGIN")

    def close(self) -> None:
        if self.db is not None:
            self.db.close()

    def rows(self, query: str, *values: Any) -> Iterator[Fields]:
        if self.db is not None:
            cursor = self.db.execute(query, values)
            names = [one[0] for one in cursor.description]
            yield from (dict(zip(names, row, strict=True)) for row in cursor)

    def faults(self) -> Iterator[str]:
        if self.db is None:
            return
        try:
            (found,) = self.db.execute("PRAGMA integrity_check(1)").fetchone()
        except sqlite3.DatabaseError as error:  # too damaged even to be checked
            found = str(error)
        if found != "ok":
            yield f"the file is damaged: {found}"
        objects = {row["name"]: row["type"] for row in self.rows("SELECT * FROM sqlite_schema")}
        for name in set(objects) | set(TABLES):
            kind = "table" if name in TABLES else "index"
            if objects.get(name) != kind:
                yield f"the archive has, or lacks, {name}"
        for table, columns in TABLES.items():
            names = [row["name"] for row in self.rows(f"PRAGMA table_info({table})")]
            if names != columns.split():
                yield f"the table {table} is not that of an archive"
        meta = {row["name"]: row["value"] for row in self.rows("SELECT * FROM meta")}
        if set(meta) != {"format", "epoch"} or meta["format"] != 1:
            yield "this is another format"

    def leaves(self) -> Iterator[Fields]:
        if self.db is not None:
            yield from self.rows("SELECT * FROM leaves ORDER BY idx")
            return
        size = int((self.directory / "checkpoint").read_text().split("\n")[1])
        for at in range(0, size, WIDTH):
            data = self.file("entries", at // WIDTH, min(WIDTH, size - at))
            for idx in range(at, min(at + WIDTH, size)):
                end = 2 + int.from_bytes(data[:2], "big")
                if len(data) < end:
                    return
                yield {"idx": idx, "data": data[2:end]}
                data = data[end:]

    def tiles(self, wanted: dict[tuple[int, int], bytes]) -> dict[tuple[int, int], bytes]:
        if self.db is not None:
            return {
                (row["level"], row["idx"]): row["data"] for row in self.rows("SELECT * FROM tiles")
            }
        return {
            (level, n): self.file(str(level), n, len(data) // 32)[: len(data)]
            for (level, n), data in wanted.items()
        }

    def file(self, level: str, number: int, width: int) -> bytes:
        digits = f"{number:0{-(-len(str(number)) // 3) * 3}}"
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        path = self.directory / "tile" / level / "/".join([f"x{one}" for one in groups[:-1]])
        part = path / f"{groups[-1]}.p" / str(width)
        for found in (part, path / groups[-1]):
            if found.is_file():
                return found.read_bytes()
        return b""

    def checkpoints(self) -> list[tuple[int, str]]:
        if self.db is not None:
            return [(row["size"], row["note"]) for row in self.rows("SELECT * FROM checkpoints")]
        note = (self.directory / "checkpoint").read_text("utf-8", "replace")
        return [(int(note.split("\n")[1]), note)]


# --- an archive of objects, in a directory -----------------------------------------------------

OBJECT = re.compile(r"(payloads|keys)/[0-9a-z-]+(/[0-9]+)?")
SUMMED = re.compile(rb'(.*),"sum":"([0-9a-f]{64})"}', re.DOTALL)
PACK_SALT = 32
PACKS_AT_ONCE = 8
PLACE = "INSERT OR REPLACE INTO placed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
ERASED = {"runs": "WHERE run = ?", "shared": "WHERE id = ?", "tenants": "WHERE tenant = ?"}
JOURNALED = """
CREATE TABLE leaves (idx INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE lines (tape TEXT, seq INTEGER, data BLOB, staged INTEGER);
CREATE INDEX lines_tape ON lines (tape, seq);
CREATE TABLE placed (id TEXT PRIMARY KEY, tenant TEXT, run TEXT, at_ms INTEGER, key TEXT,
    object TEXT, at INTEGER, length INTEGER, staged INTEGER);
CREATE INDEX placed_run ON placed (run);
CREATE INDEX placed_object ON placed (object);
CREATE TABLE packs (object TEXT PRIMARY KEY, sha256 TEXT);
CREATE TABLE keys (tenant TEXT PRIMARY KEY, object TEXT);
CREATE TABLE checkpoints (size INTEGER, note TEXT);
CREATE VIEW tape_entries AS SELECT tape, seq, data FROM lines;
CREATE VIEW payloads AS
    SELECT id, tenant, run, at_ms, key, piece(object, at, length) AS data FROM placed;
CREATE VIEW staged AS SELECT id FROM placed WHERE staged;
CREATE VIEW data_keys AS SELECT tenant, whole(object) AS record FROM keys;
"""


class Objects(Archive):
    """An archive of objects: its journal, read once into tables of which payloads are no part."""

    def __init__(self, path: Path) -> None:
        self.directory = path
        self.tables = sqlite3.connect("", isolation_level=None)  # a file that goes with it
        self.db = self.tables
        self.tables.create_function("piece", 3, self.piece)
        self.tables.create_function("whole", 1, self.object)
        self.tables.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {JOURNALED}")
        self.wrong: list[str] = []
        self.size = self.epoch = 0
        self.made: dict[tuple[int, int], bytes] | None = None
        self.last: OrderedDict[str, bytes | None] = OrderedDict()
        self.tables.execute("BEGIN")
        self.follow()
        row = self.tables.execute("SELECT max(size) FROM checkpoints").fetchone()
        self.signed = min(row[0] or 0, self.size)

    # Its files.

    def object(self, name: str) -> bytes | None:
        if name not in self.last:
            file = self.directory / name
            good = OBJECT.fullmatch(name) is not None and file.is_file()
            self.last[name] = file.read_bytes() if good else None
            if len(self.last) > PACKS_AT_ONCE:
                self.last.popitem(last=False)
        return self.last[name]

    def piece(self, name: str, at: int, length: int) -> bytes | None:
        data = self.object(name)
        return None if data is None else data[at : at + length]

    def faults(self) -> Iterator[str]:
        yield from self.wrong
        for row in self.rows("SELECT tenant FROM data_keys WHERE record IS NULL"):
            yield f"the data key of {row['tenant']} is gone"
        for row in self.rows("SELECT object, sha256 FROM packs"):
            data = self.object(row["object"])
            if data is None or hexdigest(data) != row["sha256"]:
                yield f"the object {row['object']} was changed, or is gone"
        notes = {note for _, note in self.checkpoints()}
        file = self.directory / "checkpoint"
        if file.is_file() or self.signed:
            note = file.read_bytes().decode("utf-8", "replace") if file.is_file() else ""
            if note not in notes:
                yield "the object `checkpoint` is gone, or is none of the journal's"
        for at in range(0, self.signed, WIDTH):
            width = min(WIDTH, self.signed - at)
            query = "SELECT data FROM leaves WHERE idx >= ? ORDER BY idx LIMIT ?"
            told = [row["data"] for row in self.rows(query, at, width)]
            meant = b"".join(len(one).to_bytes(2, "big") + one for one in told)
            found = self.file("entries", at // WIDTH, width)
            if found[: len(meant)] != meant or (width == WIDTH and found != meant):
                yield f"bundle {at // WIDTH} of entries does not hold what the journal has"
        for file in sorted((self.directory / "tile").rglob("*.p/*")):
            yield from self.part(file)

    def part(self, file: Path) -> Iterator[str]:
        """Hold a part of a tile to the journal, of whichever checkpoint it is."""
        _, level, *groups, width = file.relative_to(self.directory).parts
        number, count = int("".join(groups).replace("x", "").removesuffix(".p")), int(width)
        if level == "entries":
            query = "SELECT data FROM leaves WHERE idx >= ? ORDER BY idx LIMIT ?"
            leaves = [row["data"] for row in self.rows(query, number * WIDTH, count)]
            meant = b"".join(len(one).to_bytes(2, "big") + one for one in leaves)
        else:
            if self.made is None:
                rows = self.rows("SELECT data FROM leaves ORDER BY idx")
                hashes = Tree([sha(b"\x00" + row["data"]) for row in rows])
                self.made = {(at, n): data for at, n, data in hashes.tiles()}
            meant = self.made.get((int(level), number), b"")[: 32 * count]
        if file.read_bytes() != meant:
            yield f"{file.relative_to(self.directory)} does not hold what the journal has"

    def tiles(self, wanted: dict[tuple[int, int], bytes]) -> dict[tuple[int, int], bytes]:
        found = {}
        for (level, number), made in wanted.items():
            width = min(WIDTH, (self.signed >> 8 * level) - number * WIDTH)
            kept = self.file(str(level), number, width) if width > 0 else b""
            if width == WIDTH:
                found[level, number] = kept
            else:  # what no checkpoint covers has no tile yet
                width = max(width, 0)
                found[level, number] = kept[: 32 * width] + made[32 * width :]
        return found

    # Its journal.

    def follow(self) -> None:
        names = {one.relative_to(self.directory).as_posix() for one in self.journal()}
        before = "0" * 64
        for number in range(len(names)):
            name = f"journal/{number // 1000:015}/{number % 1000:03}"
            if name not in names:
                raise ValueError(f"entry {number} of the journal is gone, or has another name")
            text = (self.directory / name).read_bytes()
            line, end, data = text.partition(b"\n")
            entry, summed = read_json(line), SUMMED.fullmatch(line) if end else None
            kind = entry.get("kind")
            self.epoch += kind == "epoch"
            if summed is None or sha(summed[1] + b"}\n" + data).hex() != summed[2].decode():
                self.wrong.append(f"entry {number} of the journal was changed")
            elif (entry.get("number"), entry.get("prev")) != (number, before):
                self.wrong.append(f"entry {number} of the journal does not go on from the last")
            elif entry.get("epoch") != self.epoch:
                self.wrong.append(f"entry {number} of the journal is of another epoch")
            if entry.get("v") not in (1, 2):
                raise ValueError("this is another format")
            before = hexdigest(text)
            self.take(entry, data, f"entry {number} of the journal")

    def journal(self) -> list[Path]:
        return [one for one in (self.directory / "journal").rglob("*") if not one.is_dir()]

    def take(self, entry: Fields, data: bytes, where: str) -> None:
        kind, at = entry["kind"], 0
        for _, length in entry.get("leaves", []):
            row = (self.size, data[at : at + length])
            self.tables.execute("INSERT INTO leaves VALUES (?, ?)", row)
            self.size, at = self.size + 1, at + length
        for tape, spans in entry.get("tapes", []):
            for seq, length in spans:
                line = (tape, seq, data[at : at + length], kind == "stage")
                self.tables.execute("INSERT INTO lines VALUES (?, ?, ?, ?)", line)
                at += length
        if at != len(data):
            raise ValueError(f"{where} has other bytes than it tells of")
        for told in entry.get("payloads", []):
            self.put(told, staged=kind == "stage")
        if kind == "commit":
            self.tables.execute("UPDATE lines SET staged = 0 WHERE staged")
            self.tables.execute("UPDATE placed SET staged = 0 WHERE staged")
        elif kind in ("epoch", "discard"):
            query = "DELETE FROM packs WHERE object IN (SELECT object FROM placed WHERE staged)"
            for one in (query, "DELETE FROM placed WHERE staged", "DELETE FROM lines WHERE staged"):
                self.tables.execute(one)
        elif kind == "key":
            row = (entry["tenant"], entry["object"])
            self.tables.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", row)
        elif kind == "checkpoint":
            row = (entry["size"], entry["note"])
            self.tables.execute("INSERT INTO checkpoints VALUES (?, ?)", row)
        elif kind == "erase":
            self.erase(entry, where)
        elif kind != "stage":
            raise ValueError(f"{where} is of no known kind")

    def put(self, told: Fields, *, staged: bool) -> None:
        """Take note of an object with payloads; before format 2 it is of one run and unsalted."""
        name, at = told["object"], PACK_SALT if "runs" in told else 0
        for tenant, run, parts in told.get("runs") or [
            (told["tenant"], told["run"], told["parts"])
        ]:
            for payload, at_ms, key, length in parts:
                row = (payload, tenant, run, at_ms, key, name, at, length, staged)
                self.tables.execute(PLACE, row)
                at += length
        if "sha256" in told:
            self.tables.execute("INSERT INTO packs VALUES (?, ?)", (name, told["sha256"]))

    def erase(self, entry: Fields, where: str) -> None:
        touched: set[str] = set()
        for names, which in ERASED.items():
            for value in entry[names]:
                query = f"SELECT DISTINCT object FROM placed {which}"  # noqa: S608 (ours)
                rows = self.rows(query, value)
                touched |= {row["object"] for row in rows}
                query = f"DELETE FROM placed {which}"  # noqa: S608 (ours)
                self.tables.execute(query, (value,))
        for tenant in entry["tenants"]:
            self.tables.execute("DELETE FROM keys WHERE tenant = ?", (tenant,))
        moved = entry.get("moved", {})
        if not touched.issuperset(moved):
            raise ValueError(f"{where} moves what it does not erase from")
        for name in touched:
            query = "SELECT id, length FROM placed WHERE object = ? ORDER BY at"
            kept, at = list(self.rows(query, name)), PACK_SALT
            if kept and name not in moved:
                raise ValueError(f"{where} erases a part of {name} and leaves the rest nowhere")
            for row in kept:
                place = (moved[name]["object"], at, row["id"])
                self.tables.execute("UPDATE placed SET object = ?, at = ? WHERE id = ?", place)
                at += row["length"]
            self.tables.execute("DELETE FROM packs WHERE object = ?", (name,))
            if name in moved:
                new = (moved[name]["object"], moved[name]["sha256"])
                self.tables.execute("INSERT INTO packs VALUES (?, ?)", new)


# --- what an archive says ----------------------------------------------------------------------


def check_log(archive: Archive, key: LogKeys, kept: list[str], say: Say) -> list[Fields]:
    """Verify leaves, tiles and checkpoints; give the leaves, read, with their numbers."""
    hashes: list[bytes] = []
    leaves: list[Fields] = []
    for row in archive.leaves():
        leaf = read_json(row["data"])
        names = ("kind", "id", "tenant")
        at_ms = leaf.get("at_ms")
        if row["idx"] != len(hashes):
            say(f"entry {len(hashes)}: it is missing, or its number was changed")
            return leaves
        named = name_of(len(hashes), leaf)
        if not leaf:
            say(f"{named}: it is no leaf")
        if "kind" in row:
            said = (row["kind"], row["subject"], row["tenant"], row["at_ms"])
            meant = [leaf[one] if isinstance(leaf.get(one), str) else None for one in names]
            if said != (*meant, at_ms if isinstance(at_ms, int) else None):
                say(f"{named}: a column beside it does not say what its bytes say")
        hashes.append(sha(b"\x00" + row["data"]))
        leaves.append(leaf)
    tree = Tree(hashes)
    wanted = {(level, number): data for level, number, data in tree.tiles()}
    tiles = archive.tiles(wanted)
    for level, number in sorted(set(tiles) ^ set(wanted)):
        say(f"tile {number} of level {level} is missing, or there is one too many")
    for (level, number), data in wanted.items():
        found = tiles.get((level, number), data)
        for at in range(0, max(len(found), len(data)), 32):
            if found[at : at + 32] != data[at : at + 32]:
                index = number * WIDTH + at // 32
                about = level == 0 and index < len(leaves)
                what = name_of(index, leaves[index]) if about else f"hash {index}"
                say(f"{what}: it is not that of its tile, {number} of level {level}")
    own = archive.checkpoints()
    if not own:
        say("there is no checkpoint: nothing is proved")
    signed = 0
    replaced: dict[str, int] = {}
    for index, leaf in enumerate(leaves):
        if leaf.get("kind") == "log.rotated":
            replaced.setdefault(text_of(leaf, "before"), index)
    for size, note in [*own, *((-1, note) for note in kept)]:
        try:
            count, root = key.open(note)
        except ValueError as error:
            say(f"checkpoint {size}: {error}")
            continue
        if size not in (-1, count) or count > len(hashes):
            say(f"checkpoint {count}: the archive has {len(hashes)} entries, its end was cut off")
        elif tree.root(count) != root:
            say(f"checkpoint {count}: the tree of {count} entries is not the one that was signed")
        ends = [replaced.get(one.text, count) for one in key.signers(note)]
        if size != -1 and max(ends) < count:
            say(f"checkpoint {count}: it is signed with a key that entry {max(ends)} replaced")
        signed = max(signed, count)
    print(f"{len(hashes)} entries, {signed} of them under {len(own)} checkpoints of {key.name}")
    return leaves


def name_of(index: int, leaf: Fields) -> str:
    return f"entry {index} ({text_of(leaf, 'kind')} {text_of(leaf, 'id')})"


class Erased:
    """What the log says was erased: an erasure covers what was sequenced before it."""

    def __init__(self, leaves: list[Fields]) -> None:
        self.all = [
            (at, one) for at, one in enumerate(leaves) if one.get("kind") == "payloads.deleted"
        ]

    def covers(self, index: int, run: str, tenant: str, ended_ms: int | None) -> bool:
        for at, one in self.all:
            scope, whose, before = one.get("scope"), one.get("tenant"), one.get("before_ms")
            if at > index and (
                (scope == "run" and one.get("id") == run)
                or (scope == "tenant" and whose == tenant)
                or (
                    scope == "age"
                    and ended_ms is not None
                    and isinstance(before, int)
                    and ended_ms < before
                    and whose in ("", tenant)
                )
            ):
                return True
        return False


class Runs:
    """Tapes and payloads of an archive, held to its leaves."""

    def __init__(
        self, archive: Archive, payloads: Payloads, leaves: list[Fields], say: Say
    ) -> None:
        self.archive, self.payloads, self.leaves, self.say = archive, payloads, leaves, say
        self.erased = Erased(leaves)
        self.known: set[str] = set()
        self.tapes: set[str] = set()
        #: Of what runs share: must it be there, may it, and the times it may be kept under.
        self.shared: dict[str, tuple[set[bool], set[Any]]] = defaultdict(lambda: (set(), set()))
        self.lines = self.gone = 0

    def check(self) -> None:
        begun: dict[str, tuple[int, Fields]] = {}
        for index, leaf in enumerate(self.leaves):
            run = text_of(leaf, "id")
            if leaf.get("kind") == "run.accepted":
                begun[run] = (index, leaf)
            elif leaf.get("kind") == "run.finished":
                self.run(index, leaf, *begun.pop(run, (index, {})))
        for run, (index, leaf) in begun.items():
            gone = self.erased.covers(index, run, text_of(leaf, "tenant"), None)
            self.given(leaf, f"input/{run}", leaf.get("at_ms"), name_of(index, leaf), None)
            self.share(leaf, gone=gone)
        self.rest()

    def run(self, index: int, leaf: Fields, began: int, accepted: Fields) -> None:
        run, tenant, named = text_of(leaf, "id"), text_of(leaf, "tenant"), name_of(index, leaf)
        gone = self.erased.covers(index, run, tenant, leaf.get("at_ms"))
        input_gone = gone or self.erased.covers(began, run, tenant, None)
        if not accepted or accepted.get("tenant") != tenant:
            self.say(f"{named}: there is no entry of its acceptance for this tenant")
        tape = leaf.get("tape")
        terms = TERMS if tape else ()
        if any(leaf.get(name) != accepted.get(name) for name in terms if accepted):
            self.say(f"{named}: it was not accepted with these terms")
        if accepted and leaf.get("input") not in (None, accepted.get("input")):
            self.say(f"{named}: its input is not that of its acceptance")
        tape_id = text_of(tape, "id") if isinstance(tape, dict) else ""
        if tape_id in self.tapes:
            self.say(f"{named}: its tape is another run's")
        self.tapes.add(tape_id)
        query = "SELECT seq, data FROM tape_entries WHERE tape = ? ORDER BY seq"
        rows = list(self.archive.rows(query, tape_id))
        self.lines += len(rows)
        for what in check_lines(leaf, [row["data"] for row in rows]):
            self.say(f"{named}: {what}")
        bodies: dict[int, tuple[str, bytes]] = {}
        for row in rows:
            line = read_json(row["data"])
            if line.get("seq") != row["seq"]:
                self.say(f"{named}: line {row['seq']} of its tape is another")
            where = f"{named}: the body of line {row['seq']}"
            at_ms = line.get("at_ms") or 0
            body = self.given(leaf, f"tape/{tape_id}/{row['seq']}", at_ms, where, gone)
            if body is not None and hexdigest(body) != line.get("body"):
                self.say(f"{where} was changed")
            elif body is not None:
                bodies[row["seq"]] = (text_of(line, "kind"), body[32:])
        for what in check_bodies(leaf, bodies):
            self.say(f"{named}: {what}")
        said = [
            read_json(body)
            for _, (kind, body) in sorted(bodies.items())
            if kind in ("accepted", "finished")
        ]
        kept = leaf.get("kept")
        kept = kept if isinstance(kept, list) else []
        for name in ("input", "result", "output"):
            at = accepted if name == "input" else leaf
            erased = input_gone if name == "input" else gone
            where = f"{named}: its {name}"
            place = f"{name}/{run if name == 'input' else tape_id}"
            state = erased if name in kept or erased else None
            data = self.given(leaf, place, at.get("at_ms"), where, state)
            digests = [one[f"{name}_sha256"] for one in said if one.get(f"{name}_sha256")]
            if data is not None and digests and hexdigest(data) not in digests:
                self.say(f"{where} was changed")
        if accepted:
            self.share(accepted, gone=input_gone)
        self.share(leaf, gone=gone, kept=kept)

    def given(
        self, leaf: Fields, place: str, at_ms: Any, where: str, gone: bool | None
    ) -> bytes | None:
        """Give a payload; `gone` None: it may be missing, and may be there."""
        found = list(self.archive.rows("SELECT * FROM payloads WHERE id = ?", place))
        if not found or found[0]["data"] is None:  # of an object that is gone
            self.gone += gone is True
            if gone is False:
                self.say(f"{where} is missing, and no entry tells that it was erased")
            return None
        self.known.add(place)
        row = found[0]
        whose = "" if place.startswith(("script/", "surface/")) else text_of(leaf, "id")
        if gone:
            self.say(f"{where} was erased, as an entry tells, and is there")
        said = (row["run"], row["tenant"], row["at_ms"] if at_ms is not None else None)
        if said != (whose, text_of(leaf, "tenant"), at_ms):
            self.say(f"{where} is kept under another run, tenant or time")
        try:
            return self.payloads.open(row)
        except ValueError as error:
            self.say(f"{where}: {error}")
            return None

    def share(self, leaf: Fields, *, gone: bool, kept: Any = ()) -> None:
        for name in ("script", "surface"):
            digest = text_of(leaf, f"{name}_sha256")
            if digest:
                rules, times = self.shared[f"{name}/{text_of(leaf, 'tenant')}/{digest}"]
                rules |= {True} if not gone and name in kept else set()
                rules |= {False} if not gone else set()
                times.add(leaf.get("at_ms"))

    def rest(self) -> None:
        """What runs share, and rows that nothing names."""
        for place, (rules, times) in self.shared.items():
            leaf = {"tenant": place.split("/")[1]}
            gone = False if True in rules else None if rules else True
            data = self.given(leaf, place, None, f"the payload {place}", gone)
            row = next(self.archive.rows("SELECT at_ms FROM payloads WHERE id = ?", place), None)
            if row and row["at_ms"] not in times:
                self.say(f"the payload {place} is kept under another time")
            if data is not None and hexdigest(data) != place.split("/")[2]:
                self.say(f"the payload {place} was changed")
        staged = {row["id"] for row in self.archive.rows("SELECT id FROM staged")}
        for row in self.archive.rows("SELECT id FROM payloads"):
            if row["id"] not in self.known and row["id"] not in staged:
                self.say(f"the payload {row['id']} belongs to nothing")
        for row in self.archive.rows("SELECT tape, seq FROM tape_entries"):
            if row["tape"] not in self.tapes and f"tape/{row['tape']}/{row['seq']}" not in staged:
                self.say(f"line {row['seq']} of tape {row['tape']}: no entry names it")


def check_archive(path: Path, key: LogKeys, kept: list[str], masters: Masters, say: Say) -> None:
    objects = (path / "journal").is_dir()
    with closing(Objects(path) if objects else Archive(path)) as archive:
        check_opened(archive, key, kept, masters, say)


def check_opened(
    archive: Archive, key: LogKeys, kept: list[str], masters: Masters, say: Say
) -> None:
    for what in archive.faults():
        say(what)
    leaves = check_log(archive, key, kept, say)
    if archive.db is None:
        return
    records = {row["tenant"]: row["record"] for row in archive.rows("SELECT * FROM data_keys")}
    payloads = Payloads(masters, records)
    for what in payloads.faults:
        say(what)
    runs = Runs(archive, payloads, leaves, say)
    runs.check()
    print(
        f"{len(runs.tapes - {''})} tapes of {runs.lines} lines, {len(runs.known)} payloads;"
        f" {runs.gone} are erased, {payloads.unopened} sealed and not opened"
    )


# --- the command -------------------------------------------------------------------------------

Say = Callable[[str], None]
Masters = dict[str, bytes]


def read_masters(path: Path | None) -> Masters:
    lines = path.read_text().replace(",", "\n").splitlines() if path else []
    rows = [line.strip().partition(":") for line in lines if line.strip()[:1] not in ("", "#")]
    return {name: base64.b64decode(encoded, validate=True) for name, _, encoded in rows}


def check(path: Path, key: LogKeys, kept: list[str], masters: Masters, say: Say) -> None:
    """Verify whatever `path` is."""
    if path.is_dir():
        check_archive(path, key, kept, masters, say)
        return
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"SQLite format 3") or path.suffix == ".db":
        check_archive(path, key, kept, masters, say)
        return
    text = path.read_bytes()
    receipt = read_json(text)
    rows = [receipt] if receipt else [read_json(line) for line in text.splitlines()]
    if rows and rows[0].get("part") == "bundle":
        found = check_bundle(rows, key)
    elif receipt:
        found = check_receipt(receipt, key)
    else:
        raise Mistake("this is no archive, receipt or bundle")
    for what in found:
        say(what)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify what Moonsand's ledger says, offline.")
    parser.add_argument("path", type=Path, help="an archive, a receipt or a bundle")
    parser.add_argument(
        "--key", required=True, help="the log's public keys, or a file with them, one a line"
    )
    parser.add_argument(
        "--from",
        dest="kept",
        type=Path,
        action="append",
        default=[],
        help="a checkpoint that was kept, or a directory of them",
    )
    parser.add_argument("--vault-keys", type=Path, help="file of master keys, to open payloads")
    given = parser.parse_args(arguments)
    findings: list[str] = []

    def say(what: str) -> None:
        findings.append(what)
        if len(findings) <= 100:
            print(ascii(what)[1:-1])

    try:
        key = LogKeys(given.key if "+" in given.key else Path(given.key).read_text())
        files = [sorted(one.iterdir()) if one.is_dir() else [one] for one in given.kept]
        kept = [one.read_text() for some in files for one in some if one.name[:1] != "."]
        masters = read_masters(given.vault_keys)
        if not given.path.exists():
            raise Mistake(f"there is nothing at {given.path}")
        for note in kept:
            key.open(note)
    except (Mistake, OSError, ValueError) as error:
        print(f"nothing was verified: {error}", file=sys.stderr)
        return 2
    try:
        check(given.path, key, kept, masters, say)
    except (Mistake, OSError) as error:
        print(f"nothing was verified: {error}", file=sys.stderr)
        return 2
    except (*WRONG_TYPE, sqlite3.Error, KeyError, IndexError, RecursionError) as error:
        say(f"it cannot be read on: {error}")
    print(f"NOT verified: {len(findings)} things do not hold" if findings else "verified")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
