"""
Answers the writes of a run that only plans, and keeps the list of them.

Runs in: worker, CLI. Trusts: the packs' examples, the run's recording. Refuses: writes for which no
answer is declared, and arguments that nobody could put real values into later. May import:
integrations, ledger, core; it sends nothing.

What is planned has no intent on the tape, since nothing is to be sent: its effect tells all, the
planned write included, so that the plan can be made of the tape alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from core.calls import Effect, EffectClass
from core.plans import Origin, PlannedWrite, sha256_of
from integrations.arguments import deeper_than
from integrations.call_log import CallFacts, Ending
from integrations.failure import NOT_SENT, CallFailed
from integrations.function import Function
from integrations.local_call import LocalCall
from integrations.made_up import MARK, make_up, texts
from integrations.mcp.answers import value_of
from integrations.mcp.server_call import ServerCall
from integrations.openapi.samples import valid_sample
from integrations.pending import Work
from integrations.redaction import redact_whole
from integrations.shaping import shaped
from integrations.vendor_call import VendorCall
from ledger.recording import Recording
from sandbox.calls import EndRun, Reply
from sandbox.limits import Limits

#: Of the JSON text of all writes of one plan.
MAX_PLAN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """A call whose account and arguments were checked, and the work that it would be."""

    function: Function
    account: str | None
    work: Work
    arguments: Any
    shown: str

    @property
    def writes(self) -> bool:
        """Tell whether it may change something outside."""
        return self.function.effect_class is EffectClass.WRITE

    def redacted(self) -> tuple[Any, list[str]]:
        """Give the arguments as they may be shown, and pointers to what is not shown of them."""
        keys: Sequence[str] = ()
        secrets: Sequence[str] = ()
        if isinstance(self.work, VendorCall):
            keys, secrets = self.work.sender.pack.redact, self.work.sender.secrets
        elif isinstance(self.work, ServerCall):
            secrets = self.work.secrets
        return redact_whole(self.arguments, keys, secrets)


class Unplanned:
    """How a run makes its writes: at once. Others are a `Planner` and a `HeldPlan`."""

    def place(self, facts: CallFacts, call: Candidate) -> CallFacts:  # noqa: ARG002 (for others)
        """
        Give the facts of a call with its place in the plan, if there is a plan that holds it.

        Raises:
            CallFailed: `denied`, off plan.
        """
        return facts

    def approves(self, facts: CallFacts) -> bool:  # noqa: ARG002 (for others)
        """Note that a grant asks about a call; tell whether a plan is the answer."""
        return False

    def answer(self, call: Candidate, seq: int) -> Ending | None:  # noqa: ARG002 (for others)
        """
        Answer call `seq`; None: it is to be made.

        Raises:
            CallFailed: it cannot be planned.
        """
        return None

    def begin(self, facts: CallFacts) -> None:
        """Take note that a call is made now."""

    def learn(self, seq: int, reply: Reply | EndRun) -> None:
        """Take a reply of which later calls may use something."""


class Planner(Unplanned):
    """What one run has planned, in this attempt and earlier ones, in the order of the tape."""

    def __init__(self, recording: Recording, limits: Limits) -> None:
        self._limits = limits
        self.writes: list[PlannedWrite] = []
        self._bytes = 0
        self._asked: set[int] = set()
        #: Made-up value -> where it is from; None: from no write.
        self._values: dict[str, Origin | None] = {}
        self._by_mark: dict[str, str] = {}
        planned = [one for one in recording.calls.values() if one.planned is not None]
        for one in sorted(planned, key=lambda one: one.reply.order if one.reply else 0):
            self._keep(one.planned or {})

    def approves(self, facts: CallFacts) -> bool:
        """Note that a grant asks about a write; nothing is sent, so nobody need be asked yet."""
        if facts.effect_class is not EffectClass.WRITE:
            return False
        self._asked.add(facts.seq)
        return True

    def answer(self, call: Candidate, seq: int) -> Ending | None:
        """Answer a write, or a read of what is only planned; None: a real read."""
        if isinstance(call.work, LocalCall) and not call.writes:
            return None
        if not call.writes and not self._uses_made_up(call.arguments):
            return None
        write = self._write(call, asks=seq in self._asked) if call.writes else None
        reply, values = self._reply(call, seq)
        body = orjson.dumps(reply)
        if len(body) > self._limits.reply_bytes or deeper_than(reply, self._limits.depth):
            why = "the example of its answer is larger than a reply of this run may be"
            raise _cannot(call, "reply_too_large", why)
        planned = {
            "write": write.model_dump(mode="json", by_alias=True) if write else None,
            "values": values,
        }
        self._keep(planned)
        return Ending(Effect.PLANNED, ok=True, body=body, planned=planned)

    def _keep(self, planned: Mapping[str, Any]) -> None:
        number = None
        if planned["write"] is not None:
            write = PlannedWrite.model_validate(planned["write"])
            self.writes.append(write)
            self._bytes += len(orjson.dumps(planned["write"]))
            number = write.n
        for value, pointer in planned["values"].items():
            self._by_mark[MARK.findall(value)[0]] = value
            self._values[value] = (
                None if number is None else Origin.model_validate({"from": number, "path": pointer})
            )

    def _uses_made_up(self, arguments: Any) -> bool:
        found = (mark for _, text in texts(arguments) for mark in MARK.findall(text))
        return any(mark in self._by_mark for mark in found)

    # --- the write ------------------------------------------------------------------------------

    def _write(self, call: Candidate, *, asks: bool) -> PlannedWrite:
        arguments = call.arguments
        shown, redacted = call.redacted()
        if not isinstance(shown, dict):
            raise _cannot(call, "no_example", "its arguments are no table")
        write = PlannedWrite(
            n=len(self.writes) + 1,
            name=call.function.full_name,
            account=call.account,
            arguments=shown,
            arguments_sha256=sha256_of(arguments),
            redacted=redacted,
            references=self._references(call, shown),
            asks=asks,
        )
        size = self._bytes + len(orjson.dumps(write.model_dump(mode="json", by_alias=True)))
        if size > MAX_PLAN_BYTES:
            raise _cannot(
                call,
                "plan_too_large",
                f"the plan would have {size} bytes with it; {MAX_PLAN_BYTES} are allowed",
            )
        return write

    def _references(self, call: Candidate, shown: Any) -> dict[str, Origin]:
        """Give the made-up values in arguments; see that each is whole, in sight, and a write's."""
        in_sight = {(at, mark) for at, text in texts(shown) for mark in MARK.findall(text)}
        found: dict[str, Origin] = {}
        for at, text in texts(call.arguments):
            for mark in MARK.findall(text):
                value = self._by_mark.get(mark)
                if value is None:
                    continue  # somebody else's text that looks like one
                where = f"argument {at} uses {value}, which was made up for this plan"
                origin = self._values[value]
                if value not in text:
                    raise _cannot(call, "planned_value", f"{where}, and only a part of it")
                if origin is None:
                    raise _cannot(
                        call, "planned_value", f"{where} as the answer to a read; only what a"
                        " planned write answers can be used in a later one",
                    )  # fmt: skip
                if (at, mark) not in in_sight:
                    raise _cannot(call, "planned_value", f"{where}, inside a secret value")
                found[value] = origin
        return found

    # --- the reply ------------------------------------------------------------------------------

    def _reply(self, call: Candidate, seq: int) -> tuple[Any, dict[str, str]]:
        spec = call.function.spec
        if spec is not None:
            example = copy.deepcopy(spec.example.reply)
            given = call.arguments
            return make_up(
                shaped(example, spec.response), seq, example=spec.example.arguments, given=given
            )
        if isinstance(call.work, ServerCall):
            return make_up(_tool_sample(call, call.work), seq, example={}, given={})
        raise _cannot(call, "no_example", "no answer is declared for it")


def _tool_sample(call: Candidate, work: ServerCall) -> Any:
    tool = work.trusted.tools.get(call.function.name)
    schema = tool.described.get("outputSchema") if tool is not None else None
    if not isinstance(schema, Mapping):
        raise _cannot(
            call, "no_example", "its MCP server declares no output (`outputSchema`) for it"
        )
    found, value = valid_sample(schema) if "$ref" not in str(schema) else (False, None)
    if not found:
        raise _cannot(
            call, "no_example", "no answer can be made of the output that its server declares"
        )
    return value_of([], value, schema)


def _cannot(call: Candidate, code: str, why: str) -> CallFailed:
    name = call.function.full_name
    return CallFailed(code, f"{name} cannot be planned: {why}; {NOT_SENT}", effect=Effect.DENIED)
