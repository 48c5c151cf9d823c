"""One run with reads and writes, something killed at one of its boundaries, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from runs.model import RunRecord, RunRequest
from runs.redis_scripts import load
from sandbox.outcome import Reason
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.flaky_redis import Fault, FlakyRedis
from worker.execute import LOST_TAPE

if TYPE_CHECKING:
    import redis

SCRIPT = """
local till = app.integrations.till
local tag = input.tag
print("price", till.price({ tag = tag .. "-r1" }).value)
print("once", till.pay_once({ tag = tag .. "-w1" }).value)
print("price", till.price({ tag = tag .. "-r2" }).value)
%s
local rest = parallel.map({ "w3", "r3", "w4" }, function(name)
  local pay = name:sub(1, 1) == "w" and till.pay_once or till.price
  return pay({ tag = tag .. "-" .. name }).tag
end, { concurrency = 3 })
for _, one in ipairs(rest) do print(one) end
return { tag = tag, rest = rest }
"""
#: Calls of a run, in the order of its script; the last three are in flight together.
CALLS = 7
#: The write for which the vendor takes no key.
BARE = "w2"


class Boundary(Enum):
    """Where a worker can be killed: by the word on the wire to Redis, or at the vendor."""

    CLAIM = "claim"
    INTENT = "intent"
    REQUEST = "request"
    EFFECT = "effect"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Strike:
    """
    One kill: at the `nth` time a run comes to a boundary.

    `happened` tells that what the worker was about had been done when it died.
    """

    boundary: Boundary
    nth: int
    happened: bool

    def __str__(self) -> str:
        """Name it, for tables and test ids."""
        return f"{self.boundary.value}-{self.nth}-{'after' if self.happened else 'before'}"


def request(tag: str, *, bare: bool = True) -> RunRequest:
    """Make the run; `bare`: with a write that cannot be sent again."""
    pay = f'print("paid", till.pay({{ tag = tag .. "-{BARE}" }}).value)' if bare else ""
    return RunRequest(script=SCRIPT % pay, input={"tag": tag}, seed=1)


def writes(tag: str, *, bare: bool = True) -> list[str]:
    """Give the tags of everything the run pays."""
    return [f"{tag}-{one}" for one in ("w1", *([BARE] if bare else []), "w3", "w4")]


def arm(
    strike: Strike, client: redis.Redis, wire: FlakyRedis, vendor: CountingVendor
) -> Callable[[], bool]:
    """Prepare a strike; give what tells that the worker, the only one, has come to it."""
    if strike.boundary is Boundary.REQUEST:
        vendor.arm(Hold.AFTER if strike.happened else Hold.BEFORE, strike.nth)
        return vendor.struck.is_set
    if strike.boundary is Boundary.CLAIM:  # not the one with which it finds nothing
        Deadline().until(lambda: blocked(client), "an idle worker")
    word = {
        Boundary.CLAIM: f"\r\n{load('claim').sha1}\r\n",
        Boundary.INTENT: "\r\nintent\r\n",
        Boundary.EFFECT: "\r\neffect\r\n",
        Boundary.FINISH: "\r\noutput\r\n",
    }[strike.boundary]
    wire.arm(Fault.HOLD_AFTER if strike.happened else Fault.HOLD_BEFORE, word, strike.nth)
    return wire.struck.is_set


def blocked(client: redis.Redis) -> bool:
    """Tell whether somebody waits for something to claim."""
    found: Any = client.info("clients")
    return bool(found["blocked_clients"])


def wait_for(struck: Callable[[], bool], strike: Strike) -> None:
    """Wait until the worker has come to the boundary."""
    Deadline().until(struck, f"the boundary {strike}", seconds=20)


def problems(
    record: RunRecord,
    tag: str,
    vendor: CountingVendor,
    kinds: list[str],
    *,
    victim: str = "worker",
) -> list[str]:
    """
    Say what is wrong with a run after a kill; nothing if it is as promised.

    `victim` is what was killed: after the death of its `child` the run has ended as `crashed`; a
    `redis` that has lost the end of the tape can name no call.
    """
    crashed = victim == "child"
    found = []
    asked = writes(tag)
    twice = [one for one in asked if vendor.done[one] > 1]
    if twice:
        found.append(f"paid more than once: {', '.join(twice)}")
    if kinds[:1] != ["accepted"] or kinds[-1:] != ["finished"]:
        found.append(f"no accepted or no finished on the tape: {kinds}")
    if record.reason is Reason.OK:
        missing = [one for one in asked if vendor.done[one] != 1]
        if missing:
            found.append(f"ended as ok and did not pay: {', '.join(missing)}")
        if record.output != output(tag) or record.usage.calls != CALLS:
            found.append(f"output or calls are not those of one execution: {record.output!r}")
        if [call.seq for call in record.calls] != list(range(1, CALLS + 1)):
            found.append("a call is missing or listed twice")
    elif crashed and record.reason is Reason.CRASHED:
        known = {call.seq for call in record.calls if call.effect in {"succeeded", "unknown"}}
        untold = sum(vendor.asked[one] for one in asked) > len(known)
        found += ["a call that was made is not listed"] if untold else []
    elif record.reason is Reason.EFFECT_UNKNOWN:
        unknown = [call.name for call in record.calls if call.effect == "unknown"]
        said = str(record.error)
        # A vendor that hangs up on a call of a living worker makes any write unknown.
        named = bool(unknown) if crashed else unknown == ["till.pay"] and "(call 4)" in said
        named = named or (victim == "redis" and LOST_TAPE in said)
        if not named:
            found.append(f"effect_unknown does not name the one call that is: {unknown}")
    else:
        found.append(f"ended as {record.reason}: {record.error}")
    return found


def output(tag: str) -> str:
    """Give what one undisturbed execution prints."""
    length = len(tag) + 3
    lines = [f"price\t{length}", f"once\t{length}", f"price\t{length}", f"paid\t{length}"]
    return "\n".join([*lines, *(f"{tag}-{one}" for one in ("w3", "r3", "w4")), ""])
