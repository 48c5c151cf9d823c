"""Plans of runs on this machine, in files: what `moonsand run --plan-out` and `--apply` do."""

from __future__ import annotations

import json
from pathlib import Path

from core.errors import Conflict
from core.plans import Mode, Plan
from moonsand.exits import UsageFault
from moonsand.terminal import write_error
from runs.model import RunRequest, RunResult, State

_MAX_BYTES = 8 << 20


def settle(
    request: RunRequest, file: Path | None, out: Path | None
) -> tuple[RunRequest, Plan | None]:
    """
    Give the request as the plan of a file settles it, and the plan.

    Raises:
        UsageFault: options that do not go together, or a file that is no plan.
    """
    if out is not None and request.mode is not Mode.PLAN:
        raise UsageFault("--plan-out needs --plan")
    if file is None:
        return request, None
    if request.mode is Mode.PLAN:
        raise UsageFault("give --plan or --apply, not both")
    if request.limits or request.grants is not None or request.force or request.seed is not None:
        raise UsageFault("limits, grants, --force and --seed are the plan's: leave them out")
    plan = _read(file)
    terms = plan.terms
    settled = {
        "limits": terms.limits,
        "grants": terms.grants,
        "force": terms.force,
        "seed": terms.seed,
        "on_unknown": terms.on_unknown,
    }
    return request.model_copy(update=settled), plan


def keep(result: RunResult, path: Path) -> None:
    """
    Write what a run planned into a file; nothing of a run that did not succeed.

    Raises:
        UsageFault: the file cannot be written.
    """
    if result.plan is None or result.status is not State.SUCCEEDED:
        write_error(f"{path} was not written: the run did not plan to its end")
        return
    whole = result.plan.model_dump(mode="json", by_alias=True)
    try:
        path.write_text(json.dumps(whole, ensure_ascii=False, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UsageFault(f"cannot write {path}: {error.strerror or error}") from None


def _read(path: Path) -> Plan:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageFault(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > _MAX_BYTES:
        raise UsageFault(f"{path} has more than {_MAX_BYTES} bytes")
    try:
        return Plan.read(data)
    except Conflict as wrong:
        raise UsageFault(f"{path}: {wrong.detail}") from None
