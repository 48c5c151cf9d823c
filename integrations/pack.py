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
from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.calls import EffectClass

_NAME = r"^[a-z][a-z0-9_]{0,63}$"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
LUA_KEYWORDS = frozenset(
    (
        *("and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if"),
        *("in", "local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while"),
    )
)

Name = Annotated[str, Field(pattern=_NAME)]
Path = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~{}/-]*$")]
#: Keys joined by dots: where a value stands in a JSON object.
Pointer = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
Status = Annotated[int, Field(ge=200, le=599)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CredentialField(_Strict):
    """One value of an account. A secret one is never shown anywhere."""

    label: str
    secret: bool = False
    required: bool = False
    default: str | None = None
    aliases: tuple[Name, ...] = ()
    hint: str | None = None


class Auth(_Strict):
    """How a request shows who asks: the fields named here become the Authorization header."""

    scheme: Literal["basic"]
    username: Name
    password: Name


class Host(_Strict):
    """Where requests go: `default`, unless the account's `field` says otherwise."""

    default: Annotated[str, Field(pattern=r"^https://[a-z0-9.-]+$")]
    field: Name | None = None


class Timeouts(_Strict):
    """Seconds: to connect, between two pieces of a reply, and for the whole call with retries."""

    connect_s: float = Field(default=5, gt=0, le=30)
    read_s: float = Field(default=30, gt=0, le=300)
    total_s: float = Field(default=30, gt=0, le=300)


class Errors(_Strict):
    """Where the vendor's error bodies say what is wrong; `hints` adds our advice by status."""

    code: Pointer | None = None
    message: Pointer | None = None
    request_id_headers: tuple[str, ...] = ("x-request-id",)
    hints: dict[Status, str] = Field(default_factory=dict)


class Source(_Strict):
    """
    Where one value of a request comes from: a parameter (`from`) or a constant (`value`).

    On the way: `add` to a number, `list` makes one value a list of one, `item_key` makes each
    plain item an object with that key, `inner` maps keys inside an object (the rest stays).
    `unless` names a parameter that takes its place. A plain string stands for `{from: <string>}`.
    """

    take: Name | None = Field(default=None, alias="from")
    value: Any = None
    add: int = 0
    as_list: bool = Field(default=False, alias="list")
    item_key: str | None = None
    inner: dict[str, Source] = Field(default_factory=dict)
    unless: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return {"from": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.take is None) == (self.value is None):
            raise ValueError("give exactly one of `from` and `value`")
        return self


class Request(_Strict):
    """One HTTP request. Placeholders of `path` are parameters; without `body` none is sent."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: Path
    query: dict[str, Source] = Field(default_factory=dict)
    body: dict[str, Source] | None = None

    @property
    def placeholders(self) -> list[str]:
        """Names of the parameters in the path."""
        return _PLACEHOLDER.findall(self.path)


class Column(_Strict):
    """A key to add to each row: the first of these keys that is not null, else the default."""

    first: tuple[str, ...] = Field(min_length=1)
    default: Any


class Rows(_Strict):
    """Keys added to every object of the list that stands `at` a place of the reply."""

    at: Pointer
    add: dict[str, Column]


class Response(_Strict):
    """Which statuses are success, and what is added to the body; the rest stays as it came."""

    success: tuple[Status, ...] = (200,)
    rows: Rows | None = None


class Example(_Strict):
    """How to call a function and what comes back; the arguments must be valid."""

    lua: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    reply: Any


class FunctionPack(_Strict):
    """One function. `parameters` is a JSON Schema (2020-12) of an object; its order counts."""

    name: Name
    aliases: tuple[Name, ...] = ()
    title: str
    effect: EffectClass
    description: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    parameter_aliases: dict[Name, Name] = Field(default_factory=dict)
    request: Request
    response: Response = Response()
    timeouts: Timeouts | None = None
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
        used = set(self.request.placeholders)
        for part in (self.request.query, self.request.body or {}):
            used |= {source.take for source in part.values() if source.take}
        if used != declared:
            odd = ", ".join(sorted(used ^ declared))
            raise ValueError(f"parameters and request mapping differ in: {odd}")
        optional = set(self.request.placeholders) - set(schema.get("required", ()))
        if optional:
            raise ValueError(f"path parameters must be required: {', '.join(sorted(optional))}")
        if not set(self.parameter_aliases.values()) <= declared:
            raise ValueError("parameter_aliases must lead to parameters")
        self._check_example()
        return self

    def _check_example(self) -> None:
        try:
            validator = jsonschema_rs.Draft202012Validator(self.parameters)
        except jsonschema_rs.ValidationError as error:
            raise ValueError(f"parameters is no JSON Schema: {error.message}") from None
        for problem in validator.iter_errors(self.example.arguments):
            raise ValueError(f"example arguments are not valid: {problem.message}")


class Pack(_Strict):
    """One integration. `format` is the version of this format."""

    format: Literal[1]
    name: Name
    title: str
    summary: str
    homepage: str
    guide: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.md$")]
    credentials: dict[Name, CredentialField]
    auth: Auth
    host: Host
    timeouts: Timeouts = Timeouts()
    errors: Errors = Errors()
    redact: tuple[str, ...] = ()
    functions: tuple[FunctionPack, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [name for function in self.functions for name in function.names]
        _check_names(names)
        fields = [*self.credentials]
        fields += [alias for field in self.credentials.values() for alias in field.aliases]
        if repeated := _repeated(fields):
            raise ValueError(f"credential fields named twice: {repeated}")
        for field in (self.auth.username, self.auth.password, self.host.field):
            if field is not None and field not in self.credentials:
                raise ValueError(f"`{field}` is used but is no credential field")
        return self


def _check_names(names: tuple[str, ...] | list[str]) -> None:
    if repeated := _repeated(names):
        raise ValueError(f"names given twice: {repeated}")
    if reserved := sorted((LUA_KEYWORDS | {"default"}) & set(names)):
        raise ValueError(f"reserved words cannot be names: {', '.join(reserved)}")
    if odd := [name for name in names if not re.match(_NAME, name)]:
        raise ValueError(f"not usable as names in Lua: {', '.join(odd)}")


def _repeated(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(sorted({name for name in names if list(names).count(name) > 1}))
