"""How `moonsand replay` tells a person what it found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from integrations.replayed import Kind
from moonsand.terminal import write_error, write_output
from worker.replay_report import Report

_MAX_CHARS = 2_000
_MAX_CHANGES = 20
_KINDS = {
    Kind.FUNCTION: "another function",
    Kind.ACCOUNT: "another account",
    Kind.ARGUMENTS: "other arguments",
    Kind.EXTRA: "a call that is not on the tape",
    Kind.MISSING: "a call on the tape that was not made",
}


def show(report: Report, where: str) -> None:
    """Show what was found on stdout, and what limits it on stderr."""
    lines = [_equal(report)] if report.difference is None else _differs(report.difference)
    for line in lines:
        write_output(f"{line}\n")
    if report.would_send is not None:
        write_output(f"would be sent: {_call(report.would_send)}\n")
    write_error(f"{report.run}, from {where}")
    for note in report.notes:
        write_error(f"note: {note}")


def _equal(report: Report) -> str:
    was, now = report.recorded, report.replayed
    calls = f"{was['calls']} call{'s' * (was['calls'] != 1)}"
    if report.changed_script:
        ended = ", output and result" if report.ending else " as far as the tape goes"
        return f"same: {calls}{ended} are as recorded"
    if not report.ending:
        return f"equal as far as the tape goes: {calls}; the run ended as {was['reason']}"
    return (
        f"equal: {calls}, {now['output_bytes']:,} bytes of output, the result and"
        f" {now['instructions']:,} instructions; ended as {now['reason']}"
    )


def _differs(found: Mapping[str, Any]) -> Iterator[str]:
    at, was, now = found["at"], found["was"], found["now"]
    if at == "call":
        yield f"differs at call {found['call']}: {_KINDS[found['kind']]}"
        if was is not None:
            yield f"  was {_call(was)}"
        if now is not None:
            yield f"  now {_call(now)}"
        changes = found["changes"] or ()
        for one in changes[:_MAX_CHANGES]:
            yield f"  {one['pointer'] or '/'}: {_side(one, 'was')} -> {_side(one, 'now')}"
        return
    byte = "" if found.get("byte") is None else f" at byte {found['byte']:,}"
    yield f"differs in {at}{byte}"
    if was is not None:
        yield f"  was {_value(was)}"
    if now is not None:
        yield f"  now {_value(now)}"


def _call(call: Mapping[str, Any]) -> str:
    name = call["name"] if call["account"] is None else f"{call['name']} ({call['account']})"
    arguments = call["arguments"]
    if arguments is None:
        return f"{name}, arguments as previewed on the tape: {_cut(call.get('preview') or 'none')}"
    return f"{name} {_value(arguments)}"


def _side(change: Mapping[str, Any], name: str) -> str:
    return _value(change[name]) if name in change else "nothing"


def _value(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 3]}..."
