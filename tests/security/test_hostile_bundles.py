"""A bundle is data from anybody: whatever was changed in one, it is refused before it is run."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from core.errors import Invalid, Refused
from ledger import bundle as bundles
from ledger.bundle import parse_bundle, read_bundle
from ledger.bundle_check import check_bundle
from ledger.notes import SigningKey
from runs.model import RunRequest
from tests.recorded_runs import Recorder
from tests.sequencing import KEY
from worker.replay import read_recording, read_terms

SCRIPT = """
print(app.integrations.till.price({ tag = "a" }).value)
return { app.integrations.till.pay({ tag = "b" }).tag, input }
"""
Row = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bundle of a real run."""
    request = RunRequest(script=SCRIPT, input={"x": 1})
    return Recorder(tmp_path_factory.mktemp("good")).record(request)[0].bundle.read_bytes()


def taken(data: bytes) -> None:
    """Take a bundle as `moonsand replay` does, short of executing it."""
    checked = check_bundle(read_bundle(io.BytesIO(data)), KEY.public)
    read_terms(checked)
    read_recording(checked)


def rows_of(data: bytes) -> list[Row]:
    """Read the lines."""
    return [orjson.loads(line) for line in data.splitlines()]


def written(rows: list[Row]) -> bytes:
    """Write lines."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def test_the_bundle_as_it_is_holds(good: bytes) -> None:
    """What is refused below is refused for its change alone."""
    taken(good)
    assert b"".join(read_bundle(io.BytesIO(good)).lines()) == good
    assert written(rows_of(good)) == good


def test_no_bundle_with_one_changed_byte_is_taken(good: bytes) -> None:
    """Wherever it is: what reads as the very same bundle is no change."""
    chance = random.Random(3)  # noqa: S311
    same = read_bundle(io.BytesIO(good))
    places = [chance.randrange(len(good)) for _ in range(600)]
    for place in places:
        data = bytearray(good)
        data[place] ^= 1 << chance.randrange(8)
        try:
            taken(bytes(data))
        except Refused:
            continue
        assert read_bundle(io.BytesIO(bytes(data))) == same, place


def entry(rows: list[Row], kind: str) -> Row:
    """Give the first entry of a kind."""
    return next(row for row in rows if row.get("kind") == kind)


def body(rows: list[Row], kind: str, **changes: Any) -> None:
    """Change the body of an entry, digests be damned."""
    one = entry(rows, kind)
    one["body"] = orjson.dumps(orjson.loads(one["body"]) | changes).decode()


def unbound(rows: list[Row], **changes: Any) -> None:
    """Change a body, and take away the salt that binds it."""
    body(rows, "effect", **changes)
    entry(rows, "effect").update(salt="")


def unproved(rows: list[Row]) -> None:
    """Take away the receipt, so that only digests on the tape are left."""
    rows[0]["receipt"] = None


CHANGES: dict[str, Callable[[list[Row]], Any]] = {
    "nothing": list.clear,
    "another run": lambda rows: rows[0].update(run="run_" + "0" * 26),
    "a path for a run": lambda rows: rows[0].update(run="../../etc/passwd"),
    "another version": lambda rows: rows[0].update(v=2),
    "a receipt that is none": lambda rows: rows[0].update(receipt={"leaves": {}}),
    "a receipt that is text": lambda rows: rows[0].update(receipt="x"),
    "no end": list.pop,
    "two ends": lambda rows: rows.append(rows[-1]),
    "a wrong count": lambda rows: rows[-1].update(entries=1),
    "a part twice": lambda rows: rows.insert(2, dict(rows[1])),
    "a part after the tape": lambda rows: rows.insert(-1, rows.pop(1)),
    "a part nobody knows": lambda rows: rows.insert(1, {"part": "file", "text": "x"}),
    "a text that is a number": lambda rows: rows[1].update(text=7),
    "another script": lambda rows: rows[1].update(text="return 1"),
    "another input": lambda rows: rows[2].update(text="{}"),
    "another surface": lambda rows: rows[3].update(text="{}"),
    "another result": lambda rows: rows[4].update(text="null"),
    "another output": lambda rows: rows[5].update(text=""),
    "an entry less": lambda rows: rows.remove(entry(rows, "intent")),
    "entries in another order": lambda rows: rows.insert(6, rows.pop(7)),
    "another reply": lambda rows: body(rows, "effect", reply='{"value":9,"tag":"a"}'),
    "another effect, unbound": lambda rows: unbound(rows, effect="failed"),
    "a salt that is none": lambda rows: entry(rows, "effect").update(salt="zz"),
    "another kind": lambda rows: entry(rows, "effect").update(kind="intent"),
    "a kind nobody knows": lambda rows: entry(rows, "effect").update(kind="gift"),
    "another time": lambda rows: entry(rows, "effect").update(at_ms=5),
    "a number that is a truth": lambda rows: entry(rows, "accepted").update(seq=True),
    "a body that is a list": lambda rows: entry(rows, "effect").update(body="[]"),
    "a body that is no JSON": lambda rows: entry(rows, "effect").update(body="{"),
}  # fmt: skip
#: Without a receipt nothing proves a tape, but its shapes still have to be those of one.
SHAPES: dict[str, Callable[[list[Row]], Any]] = {
    "no limits": lambda rows: body(rows, "accepted", limits=None),
    "limits beyond all": lambda rows: body(rows, "accepted", limits={"cpu_ms": 10**9}),
    "a limit nobody knows": lambda rows: body(rows, "accepted", limits={"x": 1}),
    "a seed below": lambda rows: body(rows, "accepted", seed=-1),
    "a seed beyond": lambda rows: body(rows, "accepted", seed=1 << 63),
    "a name that is long": lambda rows: body(rows, "accepted", name="x" * 999),
    "a clock that is text": lambda rows: body(rows, "started", clock_ms="now"),
    "no clock": lambda rows: body(rows, "started", clock_ms=None),
    "a call without a name": lambda rows: body(rows, "intent", asked=None),
    "a call of lists": lambda rows: body(rows, "intent", asked=[[], [], []]),
    "a number of a call that is a list": lambda rows: body(rows, "intent", seq=[]),
    "a clock that runs out": lambda rows: body(rows, "effect", clock_ms=1 << 63),
    "a reply that is a number": lambda rows: body(rows, "effect", reply=7),
    "a reply that is not whether": lambda rows: body(rows, "effect", ok="yes"),
    "an effect nobody knows": lambda rows: body(rows, "effect", effect="gift"),
    "an unknown effect that says nothing": lambda rows: body(
        rows, "effect", effect="unknown", reply="[]"
    ),
    "a reason nobody knows": lambda rows: body(rows, "finished", reason="gift"),
    "usage that is a list": lambda rows: body(rows, "finished", usage=[1]),
    "an error that is text": lambda rows: body(rows, "finished", error="x"),
    "no script": lambda rows: rows.pop(1),
    "no surface": lambda rows: rows.pop(3),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_bundle_that_was_tampered_with_is_refused(good: bytes, change: str) -> None:
    """Every part is bound: nothing can be put in, taken out, moved or exchanged."""
    rows = rows_of(good)
    CHANGES[change](rows)
    with pytest.raises(Refused):
        taken(written(rows))


@pytest.mark.parametrize("change", SHAPES)
def test_a_made_up_tape_is_refused_by_its_shape(good: bytes, change: str) -> None:
    """With no receipt to hold it to, a tape that could not be one is refused in words."""
    rows = rows_of(good)
    unproved(rows)
    SHAPES[change](rows)
    with pytest.raises(Invalid):
        taken(written(rows))


def test_another_logs_receipt_is_none(good: bytes) -> None:
    """A whole ledger of one's own proves nothing against the key of the real one."""
    other = SigningKey("log.example.org/test", bytes(32))
    with pytest.raises(Invalid, match="no good signature"):
        check_bundle(read_bundle(io.BytesIO(good)), other.public)


def test_a_bundle_is_bounded(good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line or a file without end is left unread, and depth is no way in."""
    monkeypatch.setattr(bundles, "MAX_LINE_BYTES", 1_000)
    with pytest.raises(Refused, match="at most"):
        read_bundle(io.BytesIO(b'{"part":"bundle"' + b" " * 5_000))
    monkeypatch.undo()
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", len(good) - 1)
    with pytest.raises(Refused, match="at most"):
        read_bundle(io.BytesIO(good))
    monkeypatch.undo()
    for data in (b"[" * 100_000, b"", b"\n", b"null\n", b"\xff\xfe", b"{}\n" * 9, b"\x00" * 99):
        with pytest.raises(Invalid):
            read_bundle(io.BytesIO(data))
    with pytest.raises(Invalid):
        parse_bundle([])


def test_nothing_of_a_bundle_is_a_path(good: bytes, tmp_path: Path) -> None:
    """An import writes one file, named after the id of a run and nothing else."""
    rows = rows_of(good)
    for name in ("../x", "run_/../x", "/etc/passwd", "run_" + "0" * 25 + "/"):
        rows[0]["run"] = name
        with pytest.raises(Invalid, match="of which run"):
            read_bundle(io.BytesIO(written(rows)))
