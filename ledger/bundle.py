"""
Bundles: one run in one file, with all that it takes to execute it again, and the proofs.

Runs in: api, CLI. Trusts: nothing that it reads. Refuses: a file that is no bundle, is cut off, or
has more bytes than allowed. May import: stdlib, orjson, core, ledger.

A bundle is lines of JSON, so that it can be written and read piece by piece. The exact bytes of
each part stand in it as a text: everything that is recorded of a run is UTF-8. A file names no
path and nothing in it is executed but its script, in the jail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import orjson

from core.errors import Invalid, TooLarge
from core.ids import is_id

VERSION = 1
MAX_BUNDLE_BYTES = 512 << 20
#: A reply of the largest size, each byte of it escaped twice.
MAX_LINE_BYTES = 96 << 20
#: Parts that are texts, in the order in which they stand.
TEXTS = ("script", "input", "surface", "result", "output")
#: Texts that need not be kept: who knows the digest knows the bytes.
TOLD_BY_DIGEST = {
    hashlib.sha256(data).hexdigest(): data for data in (b"", b"null", b"true", b"false")
}
_MAX_POINTERS = 10_000


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """
    One entry of the tape: `body` is its JSON text.

    `salt`, in hexadecimal, binds it to its line in the receipt; empty when whoever wrote the bundle
    did not have it. `redacted` are JSON pointers into the reply whose values were taken out.
    """

    seq: int
    kind: str
    at_ms: int
    body: bytes = field(repr=False)
    salt: str = ""
    redacted: tuple[str, ...] = ()

    def line(self) -> bytes:
        """Write it as a line of a bundle."""
        row = {
            "part": "entry",
            "seq": self.seq,
            "kind": self.kind,
            "at_ms": self.at_ms,
            "salt": self.salt,
            "body": _text(self.body),
        }
        if self.redacted:
            row["redacted"] = self.redacted
        return _line(row)


@dataclass(slots=True)
class Bundle:
    """
    What a bundle holds. `texts` has the exact bytes of script, input, surface, result and output.

    A part that was not kept is missing. `receipt` is None when the run was not sequenced yet.
    """

    run: str
    receipt: Mapping[str, Any] | None
    texts: dict[str, bytes] = field(default_factory=dict, repr=False)
    entries: list[BundleEntry] = field(default_factory=list, repr=False)

    def lines(self) -> Iterator[bytes]:
        """Write it."""
        yield head_line(self.run, self.receipt)
        yield from (text_line(name, self.texts[name]) for name in TEXTS if name in self.texts)
        yield from (entry.line() for entry in self.entries)
        yield end_line(len(self.entries))


def head_line(run: str, receipt: Mapping[str, Any] | None) -> bytes:
    """Write the first line."""
    return _line({"part": "bundle", "v": VERSION, "run": run, "receipt": receipt})


def text_line(name: str, data: bytes) -> bytes:
    """Write a part that is a text."""
    return _line({"part": name, "text": _text(data)})


def end_line(entries: int) -> bytes:
    """Write the last line: without it the bundle was cut off."""
    return _line({"part": "end", "entries": entries})


def read_bundle(file: IO[bytes]) -> Bundle:
    """
    Read a bundle; what it says is not checked yet.

    Raises:
        Invalid: it is none, or was cut off; the message says in which line.
        TooLarge: it has more bytes than allowed.
    """
    return parse_bundle(_lines_of(file))


def parse_bundle(lines: Iterable[bytes]) -> Bundle:
    """Read a bundle as `read_bundle` does, of its lines."""
    rows = enumerate(lines, 1)
    number, line = next(rows, (1, b""))
    bundle = _head(_row(number, line))
    left = list(TEXTS)
    for number, line in rows:
        row = _row(number, line)
        part = row.get("part")
        if part in left and not bundle.entries:
            del left[: left.index(part) + 1]
            bundle.texts[part] = _string(row, "text", number).encode()
        elif part == "entry":
            bundle.entries.append(_entry(row, number))
        elif part == "end" and row.get("entries") == len(bundle.entries):
            if next(rows, None) is not None:
                raise Invalid(f"the bundle goes on after its end, line {number}")
            return bundle
        else:
            raise Invalid(f"line {number} of the bundle is not a part that may stand there")
    raise Invalid("the bundle is cut off: its last line is missing")


def _lines_of(file: IO[bytes]) -> Iterator[bytes]:
    total = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        total += len(line)
        if len(line) > MAX_LINE_BYTES or total > MAX_BUNDLE_BYTES:
            raise TooLarge(
                f"a bundle has at most {MAX_BUNDLE_BYTES >> 20} MiB, and a line of it at most"
                f" {MAX_LINE_BYTES >> 20} MiB"
            )
        yield line


def _head(row: Mapping[str, Any]) -> Bundle:
    if row.get("part") != "bundle":
        raise Invalid("this is no bundle of a run", hint="`moonsand runs export RUN` writes one")
    if row.get("v") != VERSION:
        raise Invalid(f"the bundle is of version {row.get('v')!s:.20}; this reads {VERSION}")
    run, receipt = row.get("run"), row.get("receipt")
    if not isinstance(run, str) or not is_id(run, "run"):
        raise Invalid("the bundle does not say of which run it is")
    # One that is not there says so: a name that was changed must not take its receipt away.
    if "receipt" not in row or not (receipt is None or isinstance(receipt, dict)):
        raise Invalid("the receipt in the bundle is none")
    return Bundle(run, receipt)


def _entry(row: Mapping[str, Any], number: int) -> BundleEntry:
    seq, at_ms = row.get("seq"), row.get("at_ms")
    if type(seq) is not int or type(at_ms) is not int:
        raise Invalid(f"line {number} of the bundle is no entry of a tape")
    pointers = row.get("redacted", [])
    if not isinstance(pointers, list) or len(pointers) > _MAX_POINTERS:
        raise Invalid(f"line {number} of the bundle does not say what was taken out of it")
    return BundleEntry(
        seq=seq,
        kind=_string(row, "kind", number),
        at_ms=at_ms,
        body=_string(row, "body", number).encode(),
        salt=_string(row, "salt", number),
        redacted=tuple(str(one)[:200] for one in pointers),
    )


def _row(number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        what = "this is no bundle of a run" if number == 1 else f"line {number} of the bundle"
        raise Invalid(what if number == 1 else f"{what} cannot be read")
    return row


def _string(row: Mapping[str, Any], name: str, number: int) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise Invalid(f"line {number} of the bundle has no {name}")
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Invalid("what is recorded of this run is not UTF-8; it cannot be exported") from None


def _line(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
