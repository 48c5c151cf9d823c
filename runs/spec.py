"""What a worker needs to know of a run in order to execute it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from core.plans import Mode, Plan, PlanTerms
from sandbox.limits import Limits
from tenancy.grants import Grants, Whose


@dataclass(frozen=True, slots=True)
class RunSpec:
    """
    One run, ready to execute.

    `script` is Lua source and `input` JSON text, both UTF-8. `seed` is 0 to 2^63-1, `clock_ms`
    Unix milliseconds: the time at which the script's clock starts. `grants` are
    those of its acceptance. `tenant` is None for a run on this machine without a service.
    `attempt` counts from 1. `listed` gives the return values as a list even if there is one or
    none. With `raises` a call of unknown effect is the script's error, not the run's end.
    `executed_ms` is the wall time that was used before the run waited. `plan` is what a run is held
    to whose `mode` is `apply`.
    """

    run_id: str
    tenant: str | None
    name: str
    script: bytes
    input: bytes
    limits: Limits
    seed: int
    clock_ms: int
    grants: Grants
    attempt: int = 1
    listed: bool = False
    raises: bool = False
    executed_ms: int = 0
    mode: Mode = Mode.RUN
    plan: Plan | None = None

    def plan_terms(self) -> PlanTerms:
        """Give what a plan of this run is made of, and what a run held to it has to be of."""
        asked = dict(self.grants.sets).get(Whose.RUN)
        return PlanTerms(
            script_sha256=hashlib.sha256(self.script).hexdigest(),
            input_sha256=hashlib.sha256(self.input).hexdigest(),
            seed=self.seed,
            limits=self.limits.to_json(),
            grants=None if asked is None else asked.to_json(),
            force=self.grants.force,
            on_unknown="raise" if self.raises else "fail",
        )
