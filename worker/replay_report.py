"""
What a replay came to, beside what was recorded: equal, or the first step that differs.

Runs in: CLI. Trusts: its caller's checks. Refuses: nothing. May import: stdlib, orjson, core,
ledger, integrations, runs, sandbox vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from integrations.replayed import Departure, Kind
from sandbox.outcome import Reason
from sandbox.versions import versions
from worker.json_changes import changes
from worker.replay import Replay, Terms, digest

if TYPE_CHECKING:
    from ledger.bundle_check import Checked
    from ledger.recording import RecordedCall
    from sandbox.calls import Call

#: Bytes shown before and after the place where two texts differ.
_BEFORE, _AFTER = 30, 50
_SHOWN_RESULT = 2_000
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Report:
    """
    What was found. `difference` is None when nothing differs.

    `ending` tells whether the run's end has to come again; if not, only what came before it was
    compared. `would_send` is the call that a changed script would make instead; nothing was sent.
    """

    run: str
    changed_script: bool
    ending: bool
    recorded: Mapping[str, Any]
    replayed: Mapping[str, Any]
    proof: Mapping[str, Any]
    difference: Mapping[str, Any] | None = None
    would_send: Mapping[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Tell whether nothing differs."""
        return self.difference is None

    def to_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return {
            "run": self.run,
            "equal": self.equal,
            "changed_script": self.changed_script,
            "ending_compared": self.ending,
            "recorded": self.recorded,
            "replayed": self.replayed,
            "difference": self.difference,
            "would_send": self.would_send,
            "proof": self.proof,
            "notes": self.notes,
        }


def compare(
    checked: Checked, terms: Terms, replay: Replay, *, changed_script: bool, was: Call | None
) -> Report:
    """Compare one replay with what was recorded; `was` is the recorded call in full, if known."""
    texts = checked.bundle.texts
    outcome, finished = replay.outcome, checked.finished
    departure = replay.departure
    difference = _first(checked, terms, replay, was, changed_script=changed_script)
    would_send = None
    if changed_script and departure is not None and departure.now is not None:
        would_send = _shown_call(departure.now)
    return Report(
        run=checked.bundle.run,
        changed_script=changed_script,
        ending=terms.reproducible,
        recorded={
            "reason": terms.reason,
            "instructions": terms.instructions,
            "calls": len(_seqs(checked)),
            "result_sha256": finished.get("result_sha256"),
            "output_sha256": finished.get("output_sha256"),
            "output_bytes": len(texts["output"]) if "output" in texts else None,
        },
        replayed={
            "reason": None if replay.at_end_of_tape or departure else outcome.reason,
            "instructions": outcome.usage.instructions,
            "calls": outcome.usage.calls,
            "result_sha256": digest(outcome.result),
            "output_sha256": digest(outcome.output.encode()),
            "output_bytes": len(outcome.output.encode()),
        },
        proof={
            "log": checked.proved.log,
            "signature_checked": checked.proved.signed,
            "unbound_entries": list(checked.proved.unbound),
        },
        difference=difference,
        would_send=would_send,
        notes=list(_notes(checked, terms, difference)),
    )


def _first(
    checked: Checked, terms: Terms, replay: Replay, was: Call | None, *, changed_script: bool
) -> dict[str, Any] | None:
    departure, outcome = replay.departure, replay.outcome
    output, recorded = outcome.output.encode(), checked.bundle.texts.get("output")
    cut = departure is not None or replay.at_end_of_tape or not terms.reproducible
    if recorded is not None:
        # Cut off before its end, the output is compared as far as both have it.
        most = (
            min(len(output), len(recorded))
            if cut or terms.reason is Reason.EFFECT_UNKNOWN
            else None
        )
        if output[:most] != recorded[:most]:
            return _output(recorded, output)
    if departure is not None:
        return _call(departure, was)
    if cut:
        return None
    return next(_ends(checked, terms, replay, changed_script=changed_script), None)


def _ends(
    checked: Checked, terms: Terms, replay: Replay, *, changed_script: bool
) -> Iterator[dict[str, Any]]:
    outcome, texts, finished = replay.outcome, checked.bundle.texts, checked.finished
    error = outcome.error.to_json() if outcome.error else None
    if outcome.reason is not terms.reason:
        now = {"now": outcome.reason, "error": error}
        yield {"at": "reason", "was": terms.reason, **now}
    if terms.reason is Reason.EFFECT_UNKNOWN:
        pass  # ended from outside the script while it may have been printing
    elif digest(outcome.output.encode()) != finished.get("output_sha256"):
        yield {"at": "output", "byte": None, "was": None, "now": None}
    if error != terms.error:
        yield {"at": "error", "was": terms.error, "now": error}
    if digest(outcome.result) != finished.get("result_sha256"):
        was = texts.get("result")
        yield {
            "at": "result",
            "byte": None if was is None else _place(was, outcome.result),
            "was": None if was is None else _short(was),
            "now": _short(outcome.result),
        }
    used = outcome.usage.instructions
    if used != terms.instructions and not changed_script:
        yield {"at": "instructions", "was": terms.instructions, "now": used}


def _call(departure: Departure, was: Call | None) -> dict[str, Any]:
    before, now = departure.was, departure.now
    found: dict[str, Any] = {"at": "call", "call": departure.seq, "kind": departure.kind}
    found["was"] = None if before is None else _recorded_call(before, was)
    found["now"] = None if now is None else _shown_call(now)
    found["changes"] = None
    known = None if found["was"] is None else found["was"]["arguments"]
    if departure.kind is Kind.ARGUMENTS and now is not None and known is not None:
        found["changes"] = changes(known, orjson.loads(now.arguments))
    return found


def _recorded_call(before: RecordedCall, was: Call | None) -> dict[str, Any]:
    integration, account, function = before.asked
    exact = was is not None and digest(was.arguments) == before.arguments_sha256
    return {
        "name": f"{integration}.{function}",
        "account": account,
        "arguments": orjson.loads(was.arguments) if was is not None and exact else None,
        "arguments_sha256": before.arguments_sha256,
        "preview": before.preview,
    }


def _shown_call(call: Call) -> dict[str, Any]:
    return {
        "name": call.name,
        "account": call.account,
        "arguments": orjson.loads(call.arguments),
        "arguments_sha256": digest(call.arguments),
    }


def _output(was: bytes, now: bytes) -> dict[str, Any]:
    byte = _place(was, now)
    around = slice(max(0, byte - _BEFORE), byte + _AFTER)
    shown = {"was": _short(was[around]), "now": _short(now[around])}
    return {"at": "output", "byte": byte, **shown}


def _place(was: bytes, now: bytes) -> int:
    """Give the number of the first byte that differs, from 0."""
    low, high = 0, min(len(was), len(now))
    while low < high:
        middle = (low + high + 1) // 2
        if was[:middle] == now[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _short(data: bytes) -> str:
    text = data.decode(errors="replace")
    return text if len(text) <= _SHOWN_RESULT else f"{text[: _SHOWN_RESULT - 3]}..."


def _seqs(checked: Checked) -> set[Any]:
    return {str(one.body.get("seq")) for one in checked.entries if one.kind in {"intent", "effect"}}


def _notes(checked: Checked, terms: Terms, difference: Mapping[str, Any] | None) -> Iterator[str]:
    proved = checked.proved
    if proved.log is None:
        yield "the bundle has no receipt: nothing proves that this is what happened"
    elif not proved.signed:
        yield (
            f"nobody checked the signature of {proved.log} under the receipt; --log-key checks it"
        )
    if proved.log is not None and proved.unbound:
        yield (
            f"{len(proved.unbound)} entries of the tape are not bound to the receipt one by one:"
            " their salts are not in the bundle, or something was taken out of them"
        )
    if not terms.reproducible:
        yield (
            f"the run ended as {terms.reason}, from outside its script: that does not come again,"
            " and only what came before it was compared"
        )
    ours = versions()
    for name in ("engine", "policy"):
        then = terms.versions.get(name)
        if isinstance(then, str) and then != ours[name]:
            yield f"it ran with {name} {then[:60]}, here is {ours[name][:60]}"
    if difference is not None:
        yield from _redactions(checked, difference)


def _redactions(checked: Checked, difference: Mapping[str, Any]) -> Iterator[str]:
    told = 0
    for entry, read in zip(checked.bundle.entries, checked.entries, strict=True):
        if entry.redacted and told < _NAMED:
            told += 1
            fields = ", ".join(entry.redacted[:_NAMED])
            yield (
                f"the reply to call {read.body.get('seq')!s:.20} is redacted in this bundle, at"
                f" {fields}: a script that reads it may differ for that alone"
            )
    if "output" not in checked.bundle.texts and difference["at"] == "output":
        yield "the recorded output was not kept, so that only its digest was compared"
    if "result" not in checked.bundle.texts and difference["at"] == "result":
        yield "the recorded result was not kept, so that only its digest was compared"
