"""
The part of a pack that describes the wire: authentication, hosts, requests, replies, errors.

`docs/integrations.md` is the reference of every key.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from integrations.encoding import Encoding, Style

NAME = r"^[a-z][a-z0-9_]{0,63}$"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_OF_CREDENTIALS = "credentials."

Name = Annotated[str, Field(pattern=NAME)]
Path = Annotated[str, Field(pattern=r"^/([A-Za-z0-9._~{}/:@!$&'()*+,;=-]|%[0-9A-F]{2})*$")]
#: Keys joined by dots: where a value stands in a JSON value; `*` is every entry of a list.
Pointer = Annotated[str, Field(pattern=r"^[A-Za-z0-9_$-]+(\.([A-Za-z0-9_$-]+|\*))*$")]
Status = Annotated[int, Field(ge=200, le=599)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
#: Headers that belong to the connection or to us; no pack sets them.
OUR_HEADERS = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "connection", "content-type"),
        *("accept-encoding", "user-agent", "cookie", "te", "trailer", "upgrade", "expect"),
    )
)


class Strict(BaseModel):
    """A closed, unchangeable part of a pack."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class BasicAuth(Strict):
    """`Authorization: Basic`, from two credential fields."""

    scheme: Literal["basic"]
    username: Name
    password: Name

    @property
    def fields(self) -> tuple[str, ...]:
        """The credential fields it uses."""
        return (self.username, self.password)


class BearerAuth(Strict):
    """`Authorization: Bearer`, from one credential field."""

    scheme: Literal["bearer"]
    token: Name

    @property
    def fields(self) -> tuple[str, ...]:
        """The credential fields it uses."""
        return (self.token,)


class HeaderAuth(Strict):
    """A header with one credential field, after `prefix` if there is one (`Convex `)."""

    scheme: Literal["header"]
    header: HeaderName
    value: Name
    prefix: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,64}$")] = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The credential fields it uses."""
        return (self.value,)


class QueryAuth(Strict):
    """A key in the query, from one credential field."""

    scheme: Literal["query"]
    parameter: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]
    value: Name

    @property
    def fields(self) -> tuple[str, ...]:
        """The credential fields it uses."""
        return (self.value,)


class NoAuth(Strict):
    """Nothing: the vendor asks nobody who they are."""

    scheme: Literal["none"]

    @property
    def fields(self) -> tuple[str, ...]:
        """The credential fields it uses."""
        return ()


Auth = Annotated[
    BasicAuth | BearerAuth | HeaderAuth | QueryAuth | NoAuth, Field(discriminator="scheme")
]


class Host(Strict):
    """
    Where requests go: `default`, unless the account's `field` says otherwise.

    A tenant's own value must match `pattern` as a whole; without a pattern only the operator's
    accounts file may give one.
    """

    default: Annotated[str, Field(pattern=r"^https://[a-z0-9.-]+(/[A-Za-z0-9._~-]+)*$")] | None = (
        None
    )
    field: Name | None = None
    pattern: Annotated[str, Field(pattern=r"^https://", max_length=200)] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.default is None and self.field is None:
            raise ValueError("give `default`, or the `field` that holds the address")
        if self.pattern is not None:
            if self.field is None:
                raise ValueError("`pattern` is for the `field` that holds the address")
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern is no regular expression: {error}") from None
        return self


class Timeouts(Strict):
    """Seconds: to connect, between two pieces of a reply, and for the whole call with retries."""

    connect_s: float = Field(default=5, gt=0, le=30)
    read_s: float = Field(default=30, gt=0, le=300)
    total_s: float = Field(default=30, gt=0, le=300)


class Errors(Strict):
    """
    Where the vendor's error bodies say what is wrong; `hints` adds our advice by status.

    `code` and `message` are places to look at, in order. `undecided` are statuses that leave open
    whether a write was done, `undecided_codes` codes of the vendor that do.
    """

    code: tuple[Pointer, ...] = ()
    message: tuple[Pointer, ...] = ()
    request_id_headers: tuple[str, ...] = ("x-request-id",)
    hints: dict[Status, str] = Field(default_factory=dict)
    undecided: tuple[Status, ...] = (502, 504)
    undecided_codes: tuple[str, ...] = ()

    @field_validator("code", "message", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given


class Retry(Strict):
    """How often a call is tried that may be sent again, and after which statuses."""

    attempts: int = Field(default=3, ge=1, le=6)
    statuses: tuple[Status, ...] = (429, 503)
    backoff_s: tuple[Annotated[float, Field(ge=0, le=10)], ...] = Field(
        default=(0.2, 0.8), min_length=1
    )

    def wait_s(self, attempt: int) -> float:
        """Give the seconds to wait after an attempt (0 is the first) when nobody says."""
        return self.backoff_s[min(attempt, len(self.backoff_s) - 1)]


class Rate(Strict):
    """A bucket of one account: `per_s` requests a second, and `burst` at once after a pause."""

    per_s: float = Field(gt=0, le=1_000)
    burst: int = Field(default=1, ge=1, le=1_000)


class Idempotency(Strict):
    """
    The header in which the vendor takes a key that makes sending a write again harmless.

    For `lifetime_s` seconds after a key's first use the vendor knows it again.
    """

    header: HeaderName
    lifetime_s: float = Field(default=3_600, gt=0, le=31_536_000)


class Source(Strict):
    """
    Where one value of a request comes from.

    A parameter (`from`), else a credential field (`credential`), else a constant (`value`).
    On the way: `add` to a number, `list` makes one value a list of one, `item_key` makes each
    plain item an object with that key, `inner` maps keys inside an object (the rest stays).
    `object` builds an object, whose keys win over those of the object `from` gives.
    `unless` names a parameter that takes its place. `style` says how lists and objects are
    written in queries, headers and forms. A plain string stands for `{from: <string>}`.
    """

    take: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")] | None = Field(
        default=None, alias="from"
    )
    credential: Name | None = None
    value: Any = None
    add: int = 0
    as_list: bool = Field(default=False, alias="list")
    item_key: str | None = None
    inner: dict[str, Source] = Field(default_factory=dict)
    build: dict[str, Source] | None = Field(default=None, alias="object")
    unless: Name | None = None
    style: Style | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        return {"from": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _some_origin(self) -> Self:
        origins = [self.take, self.credential, self.value, self.build]
        if all(one is None for one in origins):
            raise ValueError("give `from`, `credential`, `value` or `object`")
        if self.value is not None and any(one is not None for one in (self.take, self.build)):
            raise ValueError("give exactly one of `from` and `value`")
        return self

    def parameters(self) -> set[str]:
        """Name every parameter this takes."""
        inside = set[str]().union(*(one.parameters() for one in (self.build or {}).values()))
        return inside | ({self.take} if self.take else set())

    def credentials(self) -> set[str]:
        """Name every credential field this takes."""
        parts = [*(self.build or {}).values(), *self.inner.values()]
        inside = set[str]().union(*(one.credentials() for one in parts))
        return inside | ({self.credential} if self.credential else set())


def check_headers(headers: dict[str, Source]) -> dict[str, Source]:
    """Refuse headers that are not a pack's to set."""
    if ours := sorted(name for name in headers if name.lower() in OUR_HEADERS):
        raise ValueError(f"headers a pack cannot set: {', '.join(ours)}")
    return headers


class Request(Strict):
    """
    One HTTP request.

    Placeholders of `path` are parameters, or credential fields (`{credentials.app_id}`). Without
    `body` and `body_from` none is sent; `body_from` is a parameter that is the body itself, over
    which the keys of `body` win. `skip_empty_body` sends none when nothing of it was given.
    """

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
    path: Path
    query: dict[str, Source] = Field(default_factory=dict)
    headers: dict[HeaderName, Source] = Field(default_factory=dict)
    body: dict[str, Source] | None = None
    body_from: Name | None = None
    skip_empty_body: bool = False
    encoding: Encoding = "json"
    content_type: Annotated[str, Field(pattern=r"^[a-z]+/[A-Za-z0-9.+_-]{1,80}$")] | None = None

    @field_validator("headers")
    @classmethod
    def _allowed(cls, headers: dict[str, Source]) -> dict[str, Source]:
        return check_headers(headers)

    @property
    def placeholders(self) -> list[str]:
        """Names of the parameters in the path."""
        found = _PLACEHOLDER.findall(self.path)
        return [one for one in found if not one.startswith(_OF_CREDENTIALS)]

    @property
    def sources(self) -> list[Source]:
        """Every source of query, headers and body."""
        parts = (self.query, self.headers, self.body or {})
        return [source for part in parts for source in part.values()]

    def parameters(self) -> set[str]:
        """Name every parameter that goes somewhere."""
        used = set(self.placeholders).union(*(one.parameters() for one in self.sources))
        return used | ({self.body_from} if self.body_from else set())

    def credentials(self) -> set[str]:
        """Name every credential field the request uses, beside those of its authentication."""
        found = _PLACEHOLDER.findall(self.path)
        prefix = _OF_CREDENTIALS
        in_path = {one.removeprefix(prefix) for one in found if one.startswith(prefix)}
        return in_path.union(*(one.credentials() for one in self.sources))


class Column(Strict):
    """A key to add to each row: the first of these keys that is not null, else the default."""

    first: tuple[str, ...] = Field(min_length=1)
    default: Any


class Rows(Strict):
    """Keys added to every object of the list that stands `at` a place of the reply."""

    at: Pointer
    add: dict[str, Column]


class Requirement(Strict):
    """What a body must say to be a success, for vendors that answer 200 to failures."""

    at: Pointer
    equals: str | int | bool


class Response(Strict):
    """
    Which statuses are success, and what is added to the body; the rest stays as it came.

    `2xx` among `success` stands for every status from 200 to 299. `content` is what the body is;
    bytes come as base64 text.
    """

    success: tuple[Status | Literal["2xx"], ...] = (200,)
    content: Literal["json", "text", "base64"] = "json"
    require: Requirement | None = None
    rows: Rows | None = None

    def accepts(self, status: int) -> bool:
        """Tell whether a status is success."""
        return status in self.success or ("2xx" in self.success and 200 <= status < 300)


class Pagination(Strict):
    """
    How a list goes on: the `parameter` to set, and where the reply has its next value (`next`).

    Without `next` the parameter counts: pages, or entries to skip. `items` is where the list is.
    """

    style: Literal["page", "offset", "cursor"]
    parameter: Name
    limit: Name | None = None
    next: Pointer | None = None
    items: Pointer | None = None

    @model_validator(mode="after")
    def _cursor_has_next(self) -> Self:
        if (self.style == "cursor") != (self.next is not None):
            raise ValueError("`next` is given for a cursor, and for nothing else")
        return self
