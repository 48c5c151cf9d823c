"""The OpenAPI document: checked in, complete, and true about errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from api.app import create_app
from api.problems import make_problem
from core.settings import Settings
from sandbox.limits import SPECS

CHECKED_IN = Path("docs/openapi.json")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document that the API gives."""
    made = create_app(Settings()).openapi()
    assert isinstance(made, dict)
    return made


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give all operations by their id."""
    return {one["operationId"]: one for path in document["paths"].values() for one in path.values()}


def test_the_checked_in_document_is_the_real_one(document: dict[str, Any]) -> None:
    """docs/openapi.json is what the API gives; `python -m api` prints it."""
    assert json.loads(CHECKED_IN.read_text("utf-8")) == document


def test_operation_ids_are_stable(document: dict[str, Any]) -> None:
    """Generated clients name their methods after these."""
    assert set(operations(document)) == {
        "submit_run",
        "get_run",
        "list_runs",
        "list_quotas",
        "cancel_run",
        *("save_script", "list_scripts", "get_script", "delete_script"),
        *("list_script_versions", "get_script_version", "delete_script_version"),
        *("set_script_alias", "delete_script_alias"),
        *("create_schedule", "list_schedules", "get_schedule"),
        *("list_fires", "change_schedule", "delete_schedule"),
        "get_plan",
        "approve_plan",
        "list_approvals",
        "list_run_approvals",
        "answer_approval",
        "watch_run",
        "list_credentials",
        "get_credential",
        "set_credential",
        "delete_credential",
        "rotate_credentials",
        "test_credential",
        "list_grants",
        "effective_grants",
        "set_tenant_grants",
        "remove_tenant_grants",
        "get_key_grants",
        "set_key_grants",
        "remove_key_grants",
        "list_tenants",
        "create_tenant",
        "get_tenant",
        "suspend_tenant",
        "resume_tenant",
        "delete_tenant",
        "list_keys",
        "create_key",
        "get_current_key",
        "get_key",
        "change_key",
        "rotate_key",
        "revoke_key",
        "get_limits",
        "change_tenant_limits",
        "get_key_limits",
        "change_key_limits",
        "get_usage",
        "cancel_runs",
        "create_batch",
        "list_batches",
        "add_batch_items",
        "get_batch",
        "get_batch_results",
        "cancel_batch",
        "create_connection",
        "list_connections",
        "get_connection",
        "update_connection",
        "delete_connection",
        "test_connection",
        "create_bucket",
        "create_sync",
        "list_syncs",
        "get_sync",
        "update_sync",
        "delete_sync",
        "pause_sync",
        "resume_sync",
        "trigger_sync",
        "receive_mux_event",
        "list_hooks",
        "create_hook",
        "get_hook",
        "change_hook",
        "delete_hook",
        "receive_event",
        "add_hook_secret",
        "remove_hook_secret",
        "list_callbacks",
        "create_callback",
        "get_callback",
        "change_callback",
        "delete_callback",
        "add_callback_secret",
        "remove_callback_secret",
        "list_deliveries",
        "get_delivery",
        "replay_delivery",
        "health",
        "readiness",
        "list_docs",
        "read_doc",
        "ledger_checkpoint",
        "export_run",
        "get_receipt",
    }


def test_errors_are_problems_everywhere(document: dict[str, Any]) -> None:
    """No operation promises FastAPI's own error shapes; each error answer is a problem."""
    assert "HTTPValidationError" not in json.dumps(document)
    for name, operation in operations(document).items():
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and name not in {"health", "readiness"}:
                assert set(answer["content"]) == {"application/problem+json"}


def test_a_key_is_needed_exactly_where_it_is(document: dict[str, Any]) -> None:
    """Every route of runs says that it needs a key; what is signed instead, and no other, not."""
    signed = {"receive_event", "receive_mux_event"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            needed = path.startswith("/v1/") and operation["operationId"] not in signed
            assert ("security" in operation) == needed


def test_a_problem_fits_its_schema(document: dict[str, Any]) -> None:
    """A problem as we send it is valid under the schema that we publish."""
    schema = {**document["components"]["schemas"]["Problem"], "components": document["components"]}
    problem = make_problem("req_1", "invalid", "x").model_dump(exclude_none=True)
    assert jsonschema_rs.is_valid(schema, problem)
    assert not jsonschema_rs.is_valid(schema, {**problem, "code": "else"})


def test_limits_stand_in_the_schema(document: dict[str, Any]) -> None:
    """Every limit is described with its range and default."""
    limits = document["components"]["schemas"]["Submission"]["properties"]["limits"]
    assert set(limits["properties"]) == set(SPECS)
    for name, spec in SPECS.items():
        described = limits["properties"][name]
        assert (described["minimum"], described["maximum"]) == (spec.minimum, spec.maximum)
        assert described["default"] == spec.default
