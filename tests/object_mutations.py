"""What somebody with an archive's objects in his hands may do to them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

#: Changes a copy of an archive of objects, given all its files by their names.
Change = Callable[[Path, list[str], random.Random], None]


def names_of(root: Path) -> list[str]:
    """Give the names of all objects, in order."""
    files = (one.relative_to(root).as_posix() for one in root.rglob("*") if one.is_file())
    return sorted(name for name in files if not name.startswith("."))


def below(names: list[str], prefix: str) -> list[str]:
    """Give those names that begin with a prefix."""
    return [name for name in names if name.startswith(prefix)]


def edit_a_byte(root: Path, names: list[str], rng: random.Random) -> None:
    """Change one bit of any object; of each kind as often as of others."""
    kind = rng.choice(["journal/", "payloads/", "tile/", "checkpoint", "keys/"])
    name = rng.choice(below(names, kind) or below(names, "payloads/"))
    data = bytearray((root / name).read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (root / name).write_bytes(data)


def cut_an_object(root: Path, names: list[str], rng: random.Random) -> None:
    """Take bytes off the end of any object."""
    path = root / rng.choice(names)
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def lengthen_an_object(root: Path, names: list[str], rng: random.Random) -> None:
    """Put bytes behind an object, other than a part of a tile that is there whole besides."""
    path = root / rng.choice(below(names, "journal/") + below(names, "payloads/"))
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 40)))


def delete_an_object(root: Path, names: list[str], rng: random.Random) -> None:
    """Delete any object but a part of a tile: those of earlier checkpoints may go."""
    (root / rng.choice([name for name in names if ".p/" not in name])).unlink()


def swap_objects(root: Path, names: list[str], rng: random.Random) -> None:
    """Let two objects of one kind change places."""
    kind = rng.choice(["journal/", "payloads/"])
    one, two = (root / name for name in rng.sample(below(names, kind), 2))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def entry_of(root: Path, name: str) -> tuple[dict[str, Any], bytes]:
    """Read an entry of the journal."""
    line, _, data = (root / name).read_bytes().partition(b"\n")
    fields = orjson.loads(line)
    del fields["sum"]
    return fields, data


def write_on(root: Path, start: str, entries: list[tuple[dict[str, Any], bytes]]) -> None:
    """Write entries in the place of those from `start` on, as a forger would who knows how."""
    journal = below(names_of(root), "journal/")
    at = journal.index(start)
    before = hashlib.sha256((root / journal[at - 1]).read_bytes()).hexdigest() if at else "0" * 64
    for number, (fields, data) in enumerate(entries, at):
        fields |= {"number": number, "prev": before}
        summed = hashlib.sha256(orjson.dumps(fields) + b"\n" + data).hexdigest()
        text = orjson.dumps({**fields, "sum": summed}) + b"\n" + data
        path = root / f"journal/{number // 1000:015}/{number % 1000:03}"
        path.write_bytes(text)
        before = hashlib.sha256(text).hexdigest()
    for name in journal[at + len(entries) :]:
        (root / name).unlink()


def commits(root: Path, names: list[str]) -> list[str]:
    """Give the entries that have leaves and payloads."""
    read = ((name, entry_of(root, name)[0]) for name in below(names, "journal/"))
    return [name for name, one in read if one["kind"] == "commit" and one["payloads"]]


def erased(root: Path, names: list[str]) -> set[str]:
    """Give runs and payloads that are gone: what the journal said of these before is moot."""
    read = (entry_of(root, name)[0] for name in below(names, "journal/"))
    gone = [one for one in read if one["kind"] == "erase"]
    return {name for one in gone for name in (*one["runs"], *one["shared"])}


def kept_groups(fields: dict[str, Any], gone: set[str]) -> list[Any]:
    """Give what a commit says of payloads that are there, run by run."""
    groups = fields["payloads"][0]["runs"]
    return [one for one in groups if one[1] not in gone and one[2][0][0] not in gone]


#: Changes the fields and the data of an entry, but nothing of what is erased.
Forgery = Callable[[list[Any], set[str], random.Random], None]


def forge(root: Path, names: list[str], rng: random.Random, change: Forgery) -> None:
    """Change a commit of the journal, and chain all that comes after it anew."""
    journal = below(names, "journal/")
    start = rng.choice(commits(root, names))
    entries = [entry_of(root, name) for name in journal[journal.index(start) :]]
    fields, data = entries[0]
    holder: list[Any] = [fields, data]
    change(holder, erased(root, names), rng)
    entries[0] = (holder[0], holder[1])
    write_on(root, start, entries)


def forge_a_byte(root: Path, names: list[str], rng: random.Random) -> None:
    """Change a byte of a leaf or a line, and the whole chain after it."""

    def change(entry: list[Any], _gone: set[str], rng: random.Random) -> None:
        data = bytearray(entry[1])
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        entry[1] = bytes(data)

    forge(root, names, rng, change)


def forge_owner(root: Path, names: list[str], rng: random.Random) -> None:
    """Say of a payload that it is of another tenant, run, time or name."""

    def change(entry: list[Any], gone: set[str], rng: random.Random) -> None:
        group = rng.choice(kept_groups(entry[0], gone))
        part = rng.choice(group[2])
        what = rng.choice(["tenant", "run", "id", "at_ms"])
        if what == "tenant":
            group[0] = "somebody"
        elif what == "run":
            group[1] = "run_of_somebody"
        else:
            part[0 if what == "id" else 1] = "x/y" if what == "id" else part[1] + 1

    forge(root, names, rng, change)


def forge_order(root: Path, names: list[str], rng: random.Random) -> None:
    """Let two payloads of a pack change names, or two tapes their lines' lengths."""

    def change(entry: list[Any], gone: set[str], rng: random.Random) -> None:
        if rng.random() < 0.5:
            parts = [one for group in kept_groups(entry[0], gone) for one in group[2]]
            one, two = rng.sample(parts, 2)
            one[0], two[0] = two[0], one[0]
        else:
            one, two = rng.sample(entry[0]["tapes"], 2)
            one[0], two[0] = two[0], one[0]

    forge(root, names, rng, change)


def forge_a_pack(root: Path, names: list[str], rng: random.Random) -> None:
    """Change a payload, and the digest of its pack in the journal."""
    journal = below(names, "journal/")
    start = rng.choice(commits(root, names))
    entries = [entry_of(root, name) for name in journal[journal.index(start) :]]
    told = entries[0][0]["payloads"][0]
    path = root / told["object"]
    if not path.exists():  # an erasure has put what stays of it into another
        edit_a_byte(root, names, rng)
        return
    data = bytearray(path.read_bytes())
    data[32 + rng.randrange(len(data) - 32)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    told["sha256"] = hashlib.sha256(data).hexdigest()
    write_on(root, start, entries)


def forge_an_erasure(root: Path, names: list[str], rng: random.Random) -> None:
    """Say of an erasure that it was of more than its leaf tells, or that it moved nothing."""
    journal = below(names, "journal/")
    kinds = [entry_of(root, name)[0]["kind"] for name in journal]
    start = journal[kinds.index("erase")]
    entries = [entry_of(root, name) for name in journal[journal.index(start) :]]
    fields = entries[0][0]
    if rng.random() < 0.5:
        fields["moved"] = {}
    else:
        ended = [group[1] for name in commits(root, names) for group in runs_of(root, name)]
        fields["runs"] = [*fields["runs"], rng.choice(sorted({*ended} - {"", *fields["runs"]}))]
    write_on(root, start, entries)


def runs_of(root: Path, name: str) -> list[Any]:
    """Give what a commit says of payloads, run by run."""
    told: Any = entry_of(root, name)[0]["payloads"]
    return [group for one in told for group in one["runs"]]


MUTATIONS: list[Change] = [
    edit_a_byte,
    cut_an_object,
    lengthen_an_object,
    delete_an_object,
    swap_objects,
    forge_a_byte,
    forge_owner,
    forge_order,
    forge_a_pack,
    forge_an_erasure,
]
