"""
Changing one section of a TOML file that a person may have written, and nothing else of it.

Sections are replaced as text, so comments and order of the rest stay. The result is read again
and must hold exactly what was meant; a file written in another style is refused, not damaged.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moonsand.exits import UsageFault

#: Texts, truth values, and references such as `{ env = "NAME" }`.
Value = str | bool | Mapping[str, str]
Values = Mapping[str, Value]


def changed(text: str, path: Sequence[str], values: Values) -> str:
    """
    Give `text` with section `path` holding exactly `values`; without values it is taken out.

    Raises:
        UsageFault: `text` is no TOML, or says this section in a way that can't be replaced.
    """
    try:
        meant = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise UsageFault("the file is not TOML; correct it by hand") from None
    _put(meant, path, values)
    head, tail = _around(text, ".".join(path))
    body = "".join(f"{name} = {_literal(value)}\n" for name, value in values.items())
    section = f"[{'.'.join(path)}]\n{body}" if values else ""
    gap = "\n" if section and head.strip() and not head.endswith("\n\n") else ""
    space = "\n" if section and tail and not tail.startswith("\n") else ""
    made = f"{head}{gap}{section}{space}{tail}"
    try:
        kept = tomllib.loads(made) == meant
    except tomllib.TOMLDecodeError:
        kept = False
    if not kept:
        raise UsageFault(f"[{'.'.join(path)}] is written in a way that can't be changed here;"
                         " change the file by hand")  # fmt: skip
    return made


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Make the directory of a file if it is not there, and keep other writers of ours out."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once; nobody else may read it, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_if_there(path: Path) -> str:
    """
    Give the text of a file, nothing if it is not there.

    Raises:
        UsageFault: it can't be read.
    """
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageFault(f"cannot read {path}: {why}") from None


def _put(document: dict[str, Any], path: Sequence[str], values: Values) -> None:
    at = document
    for name in path[:-1]:
        found = at.setdefault(name, {}) if values else at.get(name)
        if not isinstance(found, dict):
            if values:
                raise UsageFault(f"{name} is no section; change the file by hand")
            return
        at = found
    if values:
        at[path[-1]] = dict(values)
        return
    at.pop(path[-1], None)
    if len(path) > 1 and not at:
        document.pop(path[0], None)  # `[mux.default]` was all there was of `mux`


def _around(text: str, name: str) -> tuple[str, str]:
    """Give what stands before and after a section; its place is at the end if it is not there."""
    found = re.search(rf"^\[{re.escape(name)}\][ \t]*(?:#.*)?$\n?", text, re.MULTILINE)
    if found is None:
        head = text if not text or text.endswith("\n") else f"{text}\n"
        return head, ""
    after = re.search(r"^(?:#.*\n|[ \t]*\n)*\[", text[found.end() :], re.MULTILINE)
    return text[: found.start()], text[found.end() + after.start() :] if after else ""


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "{ " + ", ".join(f"{name} = {_literal(one)}" for name, one in value.items()) + " }"
