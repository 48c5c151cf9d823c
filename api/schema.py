"""The OpenAPI document: FastAPI's, with our problems in place of its own error shapes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.administration_shapes import (
    KeyBody,
    KeyChangeBody,
    LimitsBody,
    RotationBody,
    TenantBody,
)
from api.grant_shapes import GrantsBody
from api.problems import KNOWN, MEDIA_TYPE, Problem
from api.shapes import AccountFields, ApprovalBody, PlanApprovalBody
from api.submission import Submission

_REF = "#/components/schemas/{model}"
_ACTING_FOR = "#/components/parameters/ActingFor"
_ACTING_FOR_HEADER = {
    "name": "Moonsand-Tenant",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Of an operator's key (`tenants:admin`): the tenant that it acts for.",
}
_EVERY_RUN_ROUTE = ("unauthenticated", "forbidden", "invalid", "internal", "unavailable")
_BODY: tuple[str, ...] = ("invalid_json", "request_timeout", "too_large", "unsupported_media_type")
_MORE = {
    "submit_run": (
        "not_found",
        "conflict",
        "invalid_json",
        "request_timeout",
        "too_large",
        "unsupported_media_type",
        "quota_exceeded",
    ),
    "get_run": ("not_found",),
    "cancel_run": ("not_found",),
    "list_run_approvals": ("not_found",),
    "answer_approval": ("not_found", "conflict", *_BODY),
    "get_plan": ("not_found", "conflict"),
    "approve_plan": ("not_found", "conflict", *_BODY),
    "list_credentials": ("quota_exceeded",),
    "get_credential": ("not_found", "quota_exceeded"),
    "set_credential": (
        "not_found",
        "conflict",
        "invalid_json",
        "request_timeout",
        "too_large",
        "unsupported_media_type",
        "quota_exceeded",
    ),
    "delete_credential": ("not_found", "conflict", "quota_exceeded"),
    "rotate_credentials": ("not_found", "quota_exceeded"),
    "test_credential": ("not_found", "quota_exceeded"),
    "watch_run": ("not_found", "quota_exceeded"),
    "set_tenant_grants": _BODY,
    "remove_tenant_grants": ("not_found",),
    "get_key_grants": ("not_found",),
    "set_key_grants": ("not_found", *_BODY),
    "remove_key_grants": ("not_found",),
    "create_tenant": ("conflict", *_BODY),
    "get_tenant": ("not_found",),
    "suspend_tenant": ("not_found", "conflict"),
    "resume_tenant": ("not_found", "conflict"),
    "delete_tenant": ("not_found", "conflict"),
    "create_key": ("not_found", "conflict", *_BODY),
    "get_key": ("not_found",),
    "change_key": ("not_found", *_BODY),
    "rotate_key": ("not_found", *_BODY),
    "revoke_key": ("not_found",),
    "change_tenant_limits": ("not_found", "conflict", *_BODY),
    "get_key_limits": ("not_found",),
    "change_key_limits": ("not_found", "conflict", *_BODY),
    "read_doc": ("not_found",),
    "ledger_checkpoint": ("not_found",),
    "get_receipt": ("not_found",),
    "export_run": ("not_found", "conflict", "quota_exceeded"),
}
DESCRIPTION = (
    "Runs untrusted Lua scripts. Every error answer is `application/problem+json` (RFC 9457); "
    "each `type` is the address of a page that explains it."
)


def json_body(model: str) -> dict[str, Any]:
    """Describe a body that is read by hand."""
    schema = {"$ref": _REF.format(model=model)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def submission_body() -> dict[str, Any]:
    """Describe the body of `POST /v1/runs`, which is read by hand."""
    return {
        **json_body("Submission"),
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "required": False,
                "schema": {"type": "string", "examples": ["wait=10"]},
                "description": "`wait=N`: as `wait_s`, which wins over it (RFC 7240).",
            }
        ],
    }


def install(app: FastAPI) -> None:
    """Make `app` give our document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _make(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _make(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    made["components"]["parameters"] = {"ActingFor": _ACTING_FOR_HEADER}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (
        *(Problem, AccountFields, ApprovalBody, GrantsBody),
        *(PlanApprovalBody, Submission),
        *(KeyBody, KeyChangeBody, LimitsBody, RotationBody, TenantBody),
    ):
        schema = model.model_json_schema(ref_template=_REF)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for path, methods in made["paths"].items():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            if "security" in operation:
                operation.setdefault("parameters", []).append({"$ref": _ACTING_FOR})
            if path.startswith("/v1/"):
                _add_problems(operation)
    return made


def _add_problems(operation: dict[str, Any]) -> None:
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    codes = (*_EVERY_RUN_ROUTE, *_MORE.get(operation["operationId"], ()))
    for code in sorted(codes, key=lambda code: KNOWN[code].status):
        known = KNOWN[code]
        operation["responses"].setdefault(
            str(known.status), {"description": known.title, "content": content}
        )
