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
from api.batch_body import BatchItem, BatchSubmission
from api.cancelling_body import CancelBody
from api.grant_shapes import GrantsBody
from api.header_schema import HEADERS, PARAMETERS, describe_headers
from api.problems import KNOWN, MEDIA_TYPE, Problem
from api.script_shapes import AliasBody, ScriptBody
from api.shapes import AccountFields, ApprovalBody, PlanApprovalBody
from api.submission import Submission
from api.trigger_shapes import (
    CallbackBody,
    CallbackChangeBody,
    HookBody,
    HookChangeBody,
    SecretBody,
)
from runs.batches.model import ItemResult
from triggers.mux_mixpeek.model import (
    BucketConfig,
    ConnectionChange,
    ConnectionConfig,
    SyncChange,
    SyncConfig,
)
from triggers.schedules import ScheduleChange, ScheduleDraft

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
    "cancel_runs": _BODY,
    "create_batch": ("conflict", "quota_exceeded", *_BODY),
    "add_batch_items": ("not_found", "conflict", "quota_exceeded", *_BODY),
    "get_batch": ("not_found",),
    "get_batch_results": ("not_found", "quota_exceeded"),
    "cancel_batch": ("not_found",),
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
    "save_script": ("quota_exceeded", *_BODY),
    "get_script": ("not_found",),
    "delete_script": ("not_found",),
    "list_script_versions": ("not_found",),
    "get_script_version": ("not_found",),
    "delete_script_version": ("not_found", "conflict"),
    "set_script_alias": ("not_found", "quota_exceeded", *_BODY),
    "delete_script_alias": ("not_found",),
    "create_schedule": ("conflict", "quota_exceeded", *_BODY),
    "get_schedule": ("not_found",),
    "list_fires": ("not_found",),
    "change_schedule": ("not_found", "conflict", "quota_exceeded", *_BODY),
    "delete_schedule": ("not_found",),
    "create_connection": ("conflict", "quota_exceeded", *_BODY),
    "list_connections": _BODY,
    "get_connection": ("not_found",),
    "update_connection": ("not_found", "conflict", "quota_exceeded", *_BODY),
    "delete_connection": ("not_found", "conflict", "quota_exceeded"),
    "test_connection": ("not_found", "quota_exceeded"),
    "create_bucket": ("conflict", "quota_exceeded", *_BODY),
    "create_sync": ("conflict", *_BODY),
    "list_syncs": _BODY,
    "get_sync": ("not_found",),
    "update_sync": ("not_found", *_BODY),
    "delete_sync": ("not_found",),
    "pause_sync": ("not_found",),
    "resume_sync": ("not_found",),
    "trigger_sync": ("not_found", "conflict", "quota_exceeded"),
    "receive_mux_event": ("invalid_json", "not_found", "request_timeout", "too_large"),
    "receive_event": (
        *("signature_refused", "not_found", "conflict", "request_timeout", "too_large"),
        *("unsupported_media_type", "quota_exceeded"),
    ),
    "create_hook": ("conflict", *_BODY),
    "get_hook": ("not_found",),
    "change_hook": ("not_found", *_BODY),
    "delete_hook": ("not_found",),
    "add_hook_secret": ("not_found", "conflict", *_BODY),
    "remove_hook_secret": ("not_found",),
    "create_callback": ("conflict", *_BODY),
    "get_callback": ("not_found",),
    "change_callback": ("not_found", "conflict", *_BODY),
    "delete_callback": ("not_found",),
    "add_callback_secret": ("not_found", "conflict"),
    "remove_callback_secret": ("not_found", "conflict"),
    "list_deliveries": ("not_found",),
    "get_delivery": ("not_found",),
    "replay_delivery": ("not_found", "conflict"),
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


def batch_body() -> dict[str, Any]:
    """Describe the body of `POST /v1/batches`, which is read by hand."""
    described = json_body("BatchSubmission")
    described["requestBody"]["content"] |= _items_content()
    return described


def items_body() -> dict[str, Any]:
    """Describe the body of `POST /v1/batches/{id}/items`, which is read by hand."""
    return {"requestBody": {"required": True, "content": _items_content()}}


def _items_content() -> dict[str, Any]:
    return {"application/x-ndjson": {"schema": {"$ref": _REF.format(model="BatchItem")}}}


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
    made["components"]["parameters"] = {"ActingFor": _ACTING_FOR_HEADER, **PARAMETERS}
    made["components"]["headers"] = HEADERS
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (
        *(CallbackBody, CallbackChangeBody, HookBody, HookChangeBody, SecretBody),
        *(Problem, AccountFields, ApprovalBody, CancelBody, GrantsBody),
        *(PlanApprovalBody, Submission, BatchSubmission, BatchItem, ItemResult),
        *(BucketConfig, ConnectionChange, ConnectionConfig, SyncChange, SyncConfig),
        *(AliasBody, ScriptBody, ScheduleChange, ScheduleDraft),
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
    codes += describe_headers(operation)
    for code in sorted(codes, key=lambda code: KNOWN[code].status):
        known = KNOWN[code]
        operation["responses"].setdefault(
            str(known.status), {"description": known.title, "content": content}
        )
