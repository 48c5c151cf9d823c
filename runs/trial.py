"""Trying an account: one reading call of its vendor, as a run of the tenant."""

from __future__ import annotations

from typing import Any

from core.calls import EffectClass
from core.errors import Invalid
from integrations.pack import Pack
from runs.model import RunRecord, RunRequest

#: Milliseconds the run may take; the vendor's own timeouts are shorter.
WALL_MS = 25_000
_SCRIPT = """
local group = app.integrations[input.integration]
local account = group and group[input.account]
local call = account and account[input["function"]]
if not call then
  return { ok = false, code = "unavailable", message = "no such account, or not granted" }
end
local ok, problem = pcall(call, {})
if ok then return { ok = true } end
return { ok = false, status = problem.status, code = problem.code, message = problem.message }
"""


def trial_of(pack: Pack, account: str) -> RunRequest:
    """
    Make the run that tries an account; it may call nothing but the one function.

    Raises:
        Invalid: the integration has no reading function that needs no arguments.
    """
    reading = [
        one.name
        for one in pack.functions
        if one.effect is EffectClass.READ and not one.parameters.get("required")
    ]
    if not reading:
        raise Invalid(f"{pack.name} has no reading function without required parameters")
    return RunRequest(
        script=_SCRIPT,
        input={"integration": pack.name, "account": account, "function": reading[0]},
        grants=[f"{pack.name}.{reading[0]}"],
        limits={"wall_ms": WALL_MS},
        name="credentials test",
    )


def verdict(record: RunRecord) -> dict[str, Any]:
    """Read what came of a run of `trial_of`: `run` and `ok`, and what failed if something did."""
    if isinstance(record.result, dict):
        return {"run": record.id, **record.result}
    message = record.error.message if record.error else "the run gave no result"
    return {"run": record.id, "ok": False, "code": str(record.reason), "message": message}
