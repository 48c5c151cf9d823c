"""What is wrong with packs, all of it at once, for those who write them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from core.calls import EffectClass
from integrations.accounts import Credentials
from integrations.arguments import bind, deeper_than
from integrations.catalog import PackInvalid, load_pack, pack_files
from integrations.failure import CallFailed
from integrations.function import Function, vendor_integration
from integrations.pack import FunctionPack, Pack
from integrations.request import build
from integrations.secret import Secret
from integrations.shaping import shaped
from sandbox.limits import SPECS, Limits


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, in a file of this name."""

    file: str
    message: str

    def to_json(self) -> dict[str, str]:
        """Give it as a JSON object."""
        return {"file": self.file, "message": self.message}


def lint(target: Path) -> tuple[int, list[Finding]]:
    """
    Check one pack, or every pack of a directory; give how many there were and what is wrong.

    Raises:
        PackInvalid: a directory cannot be read.
    """
    files = pack_files(target) if target.is_dir() else [target]
    return len(files), [one for path in files for one in _lint_file(path)]


def _lint_file(path: Path) -> Iterator[Finding]:
    try:
        pack, guide = load_pack(path)
        integration = vendor_integration(pack)
    except PackInvalid as wrong:
        yield Finding(path.name, wrong.detail.removeprefix(f"{path.name}: "))
        return
    except LookupError as missing:
        yield Finding(path.name, str(missing))
        return
    if pack.guide and not guide.strip():
        yield Finding(path.name, f"the guide {pack.guide} is empty")
    for function in integration.functions:
        for message in _lint_function(pack, function):
            yield Finding(path.name, f"{function.name}: {message}")


def _lint_function(pack: Pack, function: Function) -> Iterator[str]:
    spec = function.spec
    if spec is None:
        return
    if not spec.description.strip():
        yield "has no description"
    if not any(f"{pack.name}.{name}" in spec.example.lua for name in spec.names):
        yield f"its example does not call {function.full_name}"
    for name, schema in function.properties.items():
        if not isinstance(schema, dict) or not str(schema.get("description", "")).strip():
            yield f"parameter {name} has no description"
    try:
        depth = SPECS["depth"].default
        given = bind(function, orjson.dumps([spec.example.arguments]), depth=depth)
        if spec.request is not None and function.adapter is None:
            build(function, pack, given, _sample_account(pack))
    except CallFailed as refused:
        yield f"its example cannot be sent: {refused.message}"
    if function.effect_class is EffectClass.WRITE:
        yield from _lint_planned(spec)


def _lint_planned(spec: FunctionPack) -> Iterator[str]:
    """Check the answer that a run gets that only plans."""
    limits, reply = Limits(), copy.deepcopy(spec.example.reply)
    if spec.response.content != "json" and not isinstance(reply, str):
        yield "its example's reply is no text; a plan answers with it"
    try:
        size = len(orjson.dumps(shaped(reply, spec.response)))
    except (TypeError, ValueError):
        yield "its example's reply is not JSON; a plan answers with it"
        return
    if size > limits.reply_bytes or deeper_than(reply, limits.depth):
        yield "its example's reply is larger than a reply may be; a plan answers with it"


def _sample_account(pack: Pack) -> Credentials:
    """Give an account with something in every field."""
    values: dict[str, str | Secret] = {
        name: Secret("sample-secret") if field.secret else field.default or "sample"
        for name, field in pack.credentials.items()
    }
    if pack.host.field is not None:
        values[pack.host.field] = "https://vendor.example"
    return Credentials(pack.name, "default", values)
