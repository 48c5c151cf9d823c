"""
The format of a pack: one integration, described as data.

A pack says which functions there are, what they take, and how each becomes one HTTP request and
its reply one Lua value. `docs/integrations.md` is its reference. Loading checks everything that
can be checked without the vendor, so a pack that loads can be called.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

import jsonschema_rs
from pydantic import Field, field_validator, model_validator

from core.calls import EffectClass
from integrations.pack_wire import (
    NAME,
    Auth,
    Errors,
    HeaderName,
    Host,
    Idempotency,
    Name,
    Pagination,
    Rate,
    Request,
    Response,
    Retry,
    Source,
    Strict,
    Timeouts,
    check_headers,
)

LUA_KEYWORDS = frozenset(
    (
        *("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if"),
        *("in", "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"),
    )
)


class CredentialField(Strict):
    """One value of an account. A secret one is never shown anywhere."""

    label: str
    secret: bool = False
    required: bool = False
    default: str | None = None
    aliases: tuple[Name, ...] = ()
    hint: str | None = None


class Example(Strict):
    """How to call a function and what comes back; the arguments must be valid."""

    lua: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    reply: Any


class FunctionPack(Strict):
    """One function. `parameters` is a JSON Schema (2020-12) of an object; its order counts."""

    name: Name
    aliases: tuple[Name, ...] = ()
    title: str
    effect: EffectClass
    description: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    parameter_aliases: dict[Name, Name] = Field(default_factory=dict)
    request: Request | None = None
    adapter: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")] | None = None
    response: Response = Response()
    errors: Errors | None = None
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    rate: Name | None = None
    idempotency: Idempotency | None = None
    pagination: Pagination | None = None
    notes: str = ""
    example: Example

    @property
    def names(self) -> tuple[str, ...]:
        """Every name the function answers to, its own first."""
        return (self.name, *self.aliases)

    @model_validator(mode="before")
    @classmethod
    def _close_parameters(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("parameters", {}), dict):
            return given
        closed = {"type": "object", "properties": {}, "additionalProperties": False}
        return {**given, "parameters": {**closed, **given.get("parameters", {})}}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        schema = self.parameters
        if schema["type"] != "object" or schema["additionalProperties"] is not False:
            raise ValueError("parameters must be an object schema without additional properties")
        declared = set(schema["properties"])
        _check_names((*self.names, *declared, *self.parameter_aliases))
        self._check_request(declared)
        if self.idempotency and self.effect is EffectClass.READ:
            raise ValueError("idempotency is for functions that write")
        pages = self.pagination
        if pages and not {pages.parameter, pages.limit or pages.parameter} <= declared:
            raise ValueError("pagination must name parameters")
        if not set(self.parameter_aliases.values()) <= declared:
            raise ValueError("parameter_aliases must lead to parameters")
        self._check_example()
        return self

    def _check_request(self, declared: set[str]) -> None:
        if self.request is None:
            if self.adapter is None:
                raise ValueError("give `request`, or the `adapter` that makes the requests")
            return
        used = self.request.parameters()
        odd = used - declared if self.adapter else used ^ declared
        if odd:
            raise ValueError(f"parameters and request mapping differ in: {', '.join(sorted(odd))}")
        optional = set(self.request.placeholders) - set(self.parameters.get("required", ()))
        if optional:
            raise ValueError(f"path parameters must be required: {', '.join(sorted(optional))}")

    def _check_example(self) -> None:
        try:
            validator = jsonschema_rs.Draft202012Validator(self.parameters)
        except jsonschema_rs.ValidationError as error:
            raise ValueError(f"parameters is no JSON Schema: {error.message}") from None
        for problem in validator.iter_errors(self.example.arguments):
            raise ValueError(f"example arguments are not valid: {problem.message}")


class Pack(Strict):
    """One integration. `format` is the version of this format."""

    format: Literal[1]
    name: Name
    title: str
    summary: str
    homepage: str
    guide: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.md$")] | None = None
    credentials: dict[Name, CredentialField]
    auth: Auth
    host: Host
    timeouts: Timeouts = Timeouts()
    errors: Errors = Errors()
    retry: Retry = Retry()
    headers: dict[HeaderName, Source] = Field(default_factory=dict)
    rates: dict[Name, Rate] = Field(default_factory=dict)
    rate: Name | None = None
    concurrency: int | None = Field(default=None, ge=1, le=1_000)
    idempotency: Idempotency | None = None
    redact: tuple[str, ...] = ()
    functions: tuple[FunctionPack, ...] = Field(min_length=1)

    @property
    def probe(self) -> FunctionPack | None:
        """Give a function by which an account is tried: it reads and needs no parameters."""
        reading = (one for one in self.functions if one.effect is EffectClass.READ)
        return next((one for one in reading if not one.parameters.get("required")), None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [name for function in self.functions for name in function.names]
        _check_names(names)
        fields = [*self.credentials]
        fields += [alias for field in self.credentials.values() for alias in field.aliases]
        if repeated := _repeated(fields):
            raise ValueError(f"credential fields named twice: {repeated}")
        for field in sorted(self._used_fields()):
            if field not in self.credentials:
                raise ValueError(f"`{field}` is used but is no credential field")
        if self.host.default is None and not self.credentials[str(self.host.field)].required:
            raise ValueError(f"`{self.host.field}` must be required: there is no other address")
        for rate in (self.rate, *(function.rate for function in self.functions)):
            if rate is not None and rate not in self.rates:
                raise ValueError(f"`{rate}` is used but is not among `rates`")
        return self

    def _used_fields(self) -> set[str]:
        used = {*self.auth.fields, *([self.host.field] if self.host.field else [])}
        for source in self.headers.values():
            used |= source.credentials()
        for function in self.functions:
            used |= function.request.credentials() if function.request else set()
        return used

    @field_validator("headers")
    @classmethod
    def _plain_headers(cls, headers: dict[str, Source]) -> dict[str, Source]:
        if any(source.parameters() for source in headers.values()):
            raise ValueError("headers of a whole pack are constants and credential fields")
        return check_headers(headers)


def _check_names(names: tuple[str, ...] | list[str]) -> None:
    if repeated := _repeated(names):
        raise ValueError(f"names given twice: {repeated}")
    if reserved := sorted((LUA_KEYWORDS | {"default"}) & set(names)):
        raise ValueError(f"reserved words cannot be names: {', '.join(reserved)}")
    if odd := [name for name in names if not re.match(NAME, name)]:
        raise ValueError(f"not usable as names in Lua: {', '.join(odd)}")


def _repeated(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(sorted({name for name in names if list(names).count(name) > 1}))
