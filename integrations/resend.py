"""Whether a call that a lost attempt had begun may be sent again."""

from __future__ import annotations

from core.calls import Effect, EffectClass
from integrations.failure import CallFailed
from integrations.local_call import LocalCall
from integrations.pending import EFFECT_UNKNOWN, Work
from integrations.vendor_call import VendorCall
from ledger.recording import RecordedCall


def check_again(work: Work, before: RecordedCall, now_ms: int) -> None:
    """
    See that sending a call again can do nothing twice, and mark what is in doubt.

    A read may be sent again. A write may if the vendor takes a key by which it knows the call
    again, the earlier attempt had sent that very key, and the vendor has not forgotten it yet.

    Raises:
        CallFailed: nobody can know whether it was done; its effect is `unknown`.
    """
    if isinstance(work, LocalCall):
        return
    write = EffectClass.WRITE in {before.effect_class, work.function.effect_class}
    if not write:
        return
    key = work.idempotency_key if isinstance(work, VendorCall) else None
    if key is None or key != before.idempotency_key:
        raise in_doubt(before)
    idempotency = work.sender.idempotency if isinstance(work, VendorCall) else None
    if idempotency is None or now_ms - before.began_ms >= idempotency.lifetime_s * 1000:
        raise in_doubt(before, "; the vendor no longer knows its idempotency key")
    # Until a success says otherwise nobody knows what the first one did.
    work.progress.doubt = True


def in_doubt(before: RecordedCall, why: str = "") -> CallFailed:
    """Make the error of a call that was begun by a lost attempt and is not sent again."""
    return CallFailed(
        EFFECT_UNKNOWN,
        f"{before.name} (call {before.seq}): the worker was lost after this call was begun;"
        f" it may have been done{why}",
        effect=Effect.UNKNOWN,
    )
