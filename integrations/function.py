"""One callable function and the integration it belongs to, ready for use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

from core.calls import EffectClass
from integrations.adapters import Adapter, find_adapter
from integrations.pack import FunctionPack, Pack

#: Answers a call without any vendor: bound arguments to a JSON value, or raises `CallFailed`.
LocalHandler = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Function:
    """
    One function, answered by a vendor (`spec`) or here (`local`).

    `parameters` is a JSON Schema of an object; the order of its properties is the order of
    positional arguments. `raw` hands a local function its first argument as it came, unchecked.
    `takes_more` passes on named arguments that `parameters` does not list.
    """

    integration: str
    name: str
    aliases: tuple[str, ...]
    title: str
    effect_class: EffectClass
    description: str
    parameters: Mapping[str, Any]
    validator: jsonschema_rs.Draft202012Validator
    parameter_aliases: Mapping[str, str] = field(default_factory=dict)
    spec: FunctionPack | None = None
    local: LocalHandler | None = None
    adapter: Adapter | None = None
    raw: bool = False
    takes_more: bool = False

    @property
    def full_name(self) -> str:
        """Give `mux.list_assets`."""
        return f"{self.integration}.{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it answers to, its own first."""
        return (self.name, *self.aliases)

    @property
    def properties(self) -> Mapping[str, Any]:
        """Schemas of the parameters, in order."""
        properties: Mapping[str, Any] = self.parameters["properties"]
        return properties


@dataclass(frozen=True, slots=True)
class Integration:
    """A group of functions. One without a pack needs no account and calls nobody."""

    name: str
    title: str
    functions: tuple[Function, ...]
    pack: Pack | None = None

    @property
    def by_name(self) -> dict[str, Function]:
        """Every function under every name it answers to."""
        return {name: function for function in self.functions for name in function.names}


def vendor_integration(pack: Pack) -> Integration:
    """
    Make a pack callable.

    Raises:
        LookupError: the pack names an adapter that does not exist.
    """
    functions = tuple(_vendor_function(pack, spec) for spec in pack.functions)
    return Integration(pack.name, pack.title, functions, pack)


def _vendor_function(pack: Pack, spec: FunctionPack) -> Function:
    return Function(
        integration=pack.name,
        name=spec.name,
        aliases=spec.aliases,
        title=spec.title,
        effect_class=spec.effect,
        description=spec.description,
        parameters=spec.parameters,
        validator=jsonschema_rs.Draft202012Validator(spec.parameters),
        parameter_aliases=spec.parameter_aliases,
        spec=spec,
        adapter=find_adapter(spec.adapter) if spec.adapter else None,
    )


def local_function(  # noqa: PLR0913 (the fields of one record, all named)
    integration: str,
    name: str,
    description: str,
    handler: LocalHandler,
    *,
    properties: Mapping[str, Any] | None = None,
    required: Sequence[str] = (),
    raw: bool = False,
) -> Function:
    """Make a reading function that is answered here."""
    parameters = {
        "type": "object",
        "properties": dict(properties or {}),
        "required": list(required),
        "additionalProperties": False,
    }
    return Function(
        integration=integration,
        name=name,
        aliases=(),
        title=name,
        effect_class=EffectClass.READ,
        description=description,
        parameters=parameters,
        validator=jsonschema_rs.Draft202012Validator(parameters),
        local=handler,
        raw=raw,
    )
