"""From one operation to one function of a pack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from integrations.openapi.answers import example_reply, response_of
from integrations.openapi.auth import AuthPlan
from integrations.openapi.bodies import body_request
from integrations.openapi.entries import Entries
from integrations.openapi.lua import lua_call
from integrations.openapi.model import Operation
from integrations.openapi.parameters import place
from integrations.openapi.schemas import Schemas
from integrations.openapi.texts import one_line

_MAX_TITLE = 90
_MAX_DESCRIPTION = 500


@dataclass(frozen=True, slots=True)
class Written:
    """A function as a pack has it, and what of its operation had to be left out."""

    function: dict[str, Any]
    left_out: tuple[str, ...]


def write_function(  # noqa: PLR0913, PLR0917 (the parts of one import)
    pack: str, name: str, operation: Operation, schemas: Schemas, replies: Schemas, plan: AuthPlan
) -> Written:
    """
    Write one function.

    `schemas` writes out what is sent, `replies` what comes back.
    """
    entries = Entries(name)
    placed = place(operation, entries, schemas, plan)
    body = body_request(operation, entries, schemas)
    response, accept = response_of(operation)
    request: dict[str, Any] = {"method": operation.method, "path": placed.path}
    if placed.query:
        request["query"] = placed.query
    if headers := {**placed.headers, **accept}:
        request["headers"] = headers
    arguments = entries.arguments()
    title = one_line(operation.title, _MAX_TITLE) or operation.place
    deprecated = " (deprecated)" if operation.deprecated else ""
    function = {
        "name": name,
        "title": title,
        "effect": operation.effect,
        "description": (one_line(operation.description, _MAX_DESCRIPTION) or title) + deprecated,
        "parameters": entries.parameters(),
        "request": {**request, **body},
        "response": response,
        "example": {
            "lua": lua_call(f"app.integrations.{pack}.{name}", arguments),
            "arguments": arguments,
            "reply": example_reply(operation, replies),
        },
    }
    return Written(function, tuple(placed.left_out))
