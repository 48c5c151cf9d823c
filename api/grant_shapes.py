"""What the routes of grants take and answer, and how a rule looks in the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from tenancy.grant_rules import MAX_ACCOUNTS, MAX_CALLS_PER_RUN, Permission
from tenancy.grants import MAX_GRANTS

RULE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "examples": ["mux:read", "ask:mux:write", "deny:mux.get_asset"]},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["pattern"],
            "properties": {
                "pattern": {"type": "string", "examples": ["mux.create_asset"]},
                "effect": {"enum": [one.value for one in Permission], "default": "allow"},
                "accounts": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_ACCOUNTS,
                    "items": {"type": "string"},
                    "description": "Names of the accounts that may be used.",
                },
                "arguments": {
                    "type": "object",
                    "description": "A JSON Schema, without references, of the named arguments.",
                },
                "calls_per_run": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_CALLS_PER_RUN,
                    "description": "Calls that this rule decides, at most, in one run.",
                },
            },
        },
    ]
}
RULES_SCHEMA: dict[str, Any] = {"type": "array", "maxItems": MAX_GRANTS, "items": RULE_SCHEMA}

Rules = Annotated[list[Any], WithJsonSchema(RULES_SCHEMA)]
AskedRules = Annotated[
    list[Any] | None, WithJsonSchema({"anyOf": [RULES_SCHEMA, {"type": "null"}]})
]


class GrantsBody(BaseModel):
    """The rules of a tenant or a key, all of them: what is kept is replaced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    grants: Rules = Field(description="An empty list allows nothing.")


class KeptGrants(BaseModel):
    """One set of rules; null when there is none, and then it limits nothing."""

    grants: Annotated[list[Any] | None, WithJsonSchema({"anyOf": [RULES_SCHEMA, {"type": "null"}]})]


class AllGrants(BaseModel):
    """The rules of a tenant, and those of its keys by their ids."""

    tenant: AskedRules
    keys: Annotated[
        dict[str, list[Any]],
        WithJsonSchema({"type": "object", "additionalProperties": RULES_SCHEMA}),
    ]


class EffectiveGrants(BaseModel):
    """The rules that hold for the runs of one key; null where there is none."""

    tenant: AskedRules
    key: AskedRules
