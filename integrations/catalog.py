"""What can be called: every integration and function, by every name it answers to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import ValidationError

from core.errors import Invalid
from integrations.docs import Docs
from integrations.failure import NOT_SENT, CallFailed, did_you_mean, nearest, printable
from integrations.function import Function, Integration, vendor_integration
from integrations.lua_manual import LUA
from integrations.pack import Pack
from integrations.pages import INDEX, MCP

PACKS = Path(__file__).parent / "packs"
#: Most bytes of a pack, and of its guide.
MAX_FILE_BYTES = 8 << 20
#: Levels of lists and objects in a pack.
MAX_DEPTH = 200


class PackInvalid(Invalid):
    """A pack cannot be used; the message names the file, the place in it and what is wrong."""


class Catalog:
    """
    All integrations of one process: those of packs, `docs`, and any others given.

    `integrations` maps a name to its integration; `docs` holds the pages scripts can read.
    """

    def __init__(self, packed: Iterable[tuple[Pack, str]], extra: Iterable[Integration]) -> None:
        packs = list(packed)
        if taken := {INDEX, LUA, MCP} & {pack.name for pack, _ in packs}:
            raise PackInvalid(f"{min(taken)}.yaml: this is the name of a page of ours")
        self._packs = packs
        self.docs = Docs.of_packs(packs)
        vendors = [_callable(pack) for pack, _ in packs]
        every = [self.docs.as_integration(), *vendors, *extra]
        self.integrations: Mapping[str, Integration] = {one.name: one for one in every}
        if len(self.integrations) != len(every):
            raise PackInvalid("two integrations have the same name")
        self._by_name = {one.name: one.by_name for one in every}

    @classmethod
    def load(
        cls,
        directory: Path = PACKS,
        *,
        operator: Path | None = None,
        extra: Iterable[Integration] = (),
    ) -> Self:
        """
        Load every pack of a directory, and of the operator's own if there is one.

        `extra` adds integrations that need no pack.

        Raises:
            PackInvalid: a pack is malformed, two have one name, or a directory cannot be read.
        """
        paths = [path for one in (directory, operator) if one for path in pack_files(one)]
        return cls([load_pack(path) for path in paths], extra)

    def function(self, integration: str, name: str) -> Function:
        """
        Find a function by any of its names.

        Raises:
            CallFailed: there is none; the message names those that are near.
        """
        known = self._by_name.get(integration)
        shown = printable(f"{integration}.{name}", 130)
        if known is None:
            near = did_you_mean(integration, self.integrations)
            raise CallFailed(
                "unknown_integration",
                f"Unknown integration: {printable(integration, 64)}.{near} {_SENTENCE}",
            )
        if name not in known:
            near = did_you_mean(
                name, known, meant={alias: one.name for alias, one in known.items()}
            )
            raise CallFailed("unknown_function", f"Unknown function: {shown}.{near} {_SENTENCE}")
        return known[name]

    def digests(self) -> dict[str, str]:
        """Give the SHA-256 of what each pack says, its guide included, by its name."""
        return {
            pack.name: hashlib.sha256(f"{pack.model_dump_json()}\0{guide}".encode()).hexdigest()
            for pack, guide in self._packs
        }

    def digest(self) -> str:
        """Give one SHA-256 over all packs; it changes when any of them does."""
        lines = (f"{name}:{sha256}\n" for name, sha256 in sorted(self.digests().items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def nearest(self, name: str) -> list[str]:
        """Give up to three full names (`mux.list_assets`) like this one, best first."""
        every = [one for group in self.integrations.values() for one in group.functions]
        return nearest(name, [function.full_name for function in every])


def pack_files(directory: Path) -> list[Path]:
    """
    Give the packs of a directory, by name.

    Raises:
        PackInvalid: it is no directory that can be read.
    """
    try:
        return sorted(one for one in directory.iterdir() if one.suffix == ".yaml")
    except OSError as error:
        raise PackInvalid(f"packs directory {directory.name}: {error.strerror}") from None


def _callable(pack: Pack) -> Integration:
    try:
        return vendor_integration(pack)
    except LookupError as missing:
        raise PackInvalid(f"{pack.name}.yaml: {missing}") from None


_SENTENCE = f"{NOT_SENT[0].upper()}{NOT_SENT[1:]}."


def load_pack(path: Path) -> tuple[Pack, str]:
    """
    Read one pack and its guide text, which is empty if it names none.

    Raises:
        PackInvalid: the message names the file, the place in it and what is wrong.
    """
    try:
        text = _read(path)
        _check_depth(path, text)
        document: Any = yaml.load(text, Loader=_Loader)  # noqa: S506 (a safe loader)
        pack = Pack.model_validate(document)
        guide = _read(path.parent / pack.guide) if pack.guide else ""
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" line {place.line + 1}" if place else ""
        raise PackInvalid(f"{path.name}{line}: not YAML: {getattr(error, 'problem', '')}") from None
    except ValidationError as error:
        raise PackInvalid(f"{path.name}: {_problems(error)}") from None
    except OSError as error:
        raise PackInvalid(f"{path.name}: {Path(error.filename).name} cannot be read") from None
    if pack.name != path.stem:
        raise PackInvalid(f"{path.name}: the file of pack `{pack.name}` must be {pack.name}.yaml")
    return pack, guide


def _read(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise PackInvalid(f"{path.name}: more than {MAX_FILE_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise PackInvalid(f"{path.name}: not UTF-8 text: byte {error.start + 1}") from None


def _check_depth(path: Path, text: str) -> None:
    """Count before anything is built: the parser's own recursion has no bound."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise PackInvalid(f"{path.name}: nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1


class _Loader(yaml.CSafeLoader):
    """Safe YAML that refuses a key given twice: the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'pack'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )
