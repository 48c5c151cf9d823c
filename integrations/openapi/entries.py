"""The parameters of one function while it is written: names, schemas and where each goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs
import orjson

from integrations.openapi.names import snake, unique
from integrations.openapi.samples import valid_sample
from integrations.openapi.texts import one_line

_MAX_DESCRIPTION = 300
_MAX_EXAMPLE_BYTES = 1_500


@dataclass(slots=True)
class Entry:
    """One parameter: its name in Lua, its schema, and the example value if there is one."""

    name: str
    schema: dict[str, Any]
    required: bool
    example: Any = None
    shown: bool = False


@dataclass(slots=True)
class Entries:
    """All parameters of one function; no two have one name, nor that of the function."""

    function: str
    entries: list[Entry] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def add(  # noqa: PLR0913 (one parameter, all named)
        self,
        text: str,
        where: str,
        schema: Mapping[str, Any],
        *,
        required: bool,
        description: str = "",
        default: Any = None,
        keep_default: bool = False,
        example: Any = None,
    ) -> str:
        """
        Add a parameter and give its name.

        A default of the vendor's is only told, since the vendor fills it in; `keep_default` sends
        it. A schema that cannot be used, or has no example, is opened: the vendor checks then.
        """
        taken = {self.function, *self._taken}
        plain = snake(text)
        name = unique(f"{where} {text}" if plain in taken else text, where, taken)
        self._taken.add(name)
        shape, value = _usable(schema, example)
        said = one_line(description, _MAX_DESCRIPTION) or shape.get("description", "")
        said = said or one_line(f"`{text}` ({where})", 80)
        kept = keep_default and default is not None and _fits(shape, default)
        if default is not None and not kept and isinstance(default, str | int | float):
            told = one_line(orjson.dumps(default).decode(), 60)
            said = f"{said.rstrip('.')}. Default: {told}"
        shape = {**shape, "description": said}
        if kept:
            shape["default"] = default
        self.entries.append(
            Entry(name, shape, required and not kept, value, shown=example is not None)
        )
        return name

    @property
    def ordered(self) -> list[Entry]:
        """The required ones first: they are what positional arguments are for."""
        return sorted(self.entries, key=lambda one: not one.required)

    def parameters(self) -> dict[str, Any]:
        """Give the pack's `parameters`."""
        required = [one.name for one in self.ordered if one.required]
        result: dict[str, Any] = {"properties": {one.name: one.schema for one in self.ordered}}
        if required:
            result["required"] = required
        return result

    def arguments(self) -> dict[str, Any]:
        """Give arguments that are valid: what is required, and what the document shows."""
        needed = {one.name: one.example for one in self.ordered if one.required}
        both = {one.name: one.example for one in self.ordered if one.required or one.shown}
        return both if len(orjson.dumps(both)) <= _MAX_EXAMPLE_BYTES else needed


def _usable(schema: Mapping[str, Any], example: Any) -> tuple[dict[str, Any], Any]:
    """Give a schema that has an example, and the example; opened as far as that needs."""
    described = {key: schema[key] for key in ("description",) if key in schema}
    typed = {**described, **({"type": schema["type"]} if "type" in schema else {})}
    for shape in (dict(schema), _without(schema, "pattern"), typed, described):
        if example is not None and _fits(shape, example):
            return shape, example
        found, value = valid_sample(shape)
        if found and value is not None:
            return shape, value
    return described, "x"


def _without(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    return {key: item for key, item in schema.items() if key != keyword}


def _fits(schema: Mapping[str, Any], value: Any) -> bool:
    try:
        return jsonschema_rs.Draft202012Validator(dict(schema)).is_valid(value)
    except (jsonschema_rs.ValidationError, ValueError):
        return False
