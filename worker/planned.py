"""
Plan and apply, in the execution of one run: what the broker is to do, and what comes of it.

Runs in: worker, CLI. Trusts: the spec. Refuses: nothing by itself. May import: integrations,
ledger, runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from core.calls import Effect
from core.plans import Mode, Plan
from integrations.held_plan import HeldPlan
from integrations.planning import Planner, Unplanned
from ledger.recording import Recording

if TYPE_CHECKING:
    from integrations.broker import RunBroker
    from runs.endings import Ending
    from runs.spec import RunSpec


def planning_of(spec: RunSpec, recording: Recording | None) -> Unplanned:
    """Say how the broker is to make a run's writes, over what earlier attempts recorded."""
    if spec.mode is Mode.PLAN:
        return Planner(recording or Recording(), spec.limits)
    if spec.mode is Mode.RUN:
        return Unplanned()
    if spec.plan is None:
        raise TypeError("a run that applies a plan has none")
    return HeldPlan(spec.plan, recording or Recording())


def with_plan(ending: Ending, spec: RunSpec, run: RunBroker) -> Ending:
    """Add to an ending what was planned, or how far the plan was applied."""
    planning = run.planning
    if isinstance(planning, Planner):
        return replace(ending, plan=Plan.of(spec.plan_terms(), planning.writes))
    if isinstance(planning, HeldPlan):
        done = {one.seq for one in run.calls if one.effect is Effect.SUCCEEDED}
        return replace(ending, plan=spec.plan, applied=len(done & set(planning.taken)))
    return ending
