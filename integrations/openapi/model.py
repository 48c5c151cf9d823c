"""An operation as all versions of OpenAPI mean it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from integrations.encoding import Encoding

Where = Literal["path", "query", "header", "cookie"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    One parameter outside the body.

    `style` is OpenAPI's (`form`, `simple`, `deepObject`, ...); `as_json` sends JSON text.
    """

    name: str
    where: Where
    required: bool
    schema: Any
    description: str = ""
    style: str = ""
    explode: bool = True
    as_json: bool = False
    example: Any = None


@dataclass(frozen=True, slots=True)
class Body:
    """
    The body of a request.

    `required` is None when the document does not say. `parts` has what it says about how single
    fields of a form are written; `example` is None or a whole body.
    """

    content_type: str
    encoding: Encoding
    schema: Any
    required: bool | None
    description: str = ""
    parts: dict[str, Any] = field(default_factory=dict)
    example: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One described answer: `content_type` is empty when there is no body."""

    status: str
    content_type: str = ""
    schema: Any = None
    example: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One operation. `path` has the document's own names in braces, its base path before it.

    `security` is a list of alternatives, each the names of schemes needed together.
    """

    method: str
    path: str
    operation_id: str
    tags: tuple[str, ...]
    title: str
    description: str
    parameters: tuple[Parameter, ...]
    body: Body | None
    answers: tuple[Answer, ...]
    security: tuple[tuple[str, ...], ...]
    effect: str
    deprecated: bool = False
    calls_back: bool = False

    @property
    def place(self) -> str:
        """Give `GET /pets/{id}`."""
        return f"{self.method} {self.path}"
