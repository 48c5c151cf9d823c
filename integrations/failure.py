"""How a call fails, in the one shape a script sees, whatever went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import Any

import orjson

from core.calls import Effect

NOT_SENT = "no external call was made"
#: Longest text of somebody else's that is quoted in a message, in characters.
MAX_QUOTED = 1_000
_LEAST_LIKENESS = 0.6
_SPREAD = 0.08
#: Controls, line ends, and what turns the direction of text around.
_UNPRINTABLE = re.compile(
    r"[^\x20-\x7e\u00a0-\u1fff\u2010-\u2027\u2030-\u205f\u2070-\ud7ff\uf900-\ufefe"
    r"\U00010000-\U0003ffff]+"
)


class CallFailed(Exception):
    """
    One call gave no value. `message` is whole and safe to show: no credential is in it.

    `effect` says what the call did outside; `status` is the vendor's HTTP status, if one came;
    `retry_after_s` is how many seconds the vendor asked to wait; `retriable` tells whether the
    same call may well succeed later, without doing anything twice.
    """

    def __init__(  # noqa: PLR0913 (the fields of one record, all named)
        self,
        code: str,
        message: str,
        *,
        effect: Effect = Effect.FAILED,
        status: int | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        retriable: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.effect = effect
        self.status = status
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.retriable = retriable

    def to_json(self, integration: str, account: str | None, function: str) -> dict[str, Any]:
        """Give the error object of the script."""
        return {
            "integration": integration,
            "account": account,
            "function": function,
            "status": self.status,
            "code": self.code,
            "message": self.message,
            "retry_after": self.retry_after_s,
            "request_id": self.request_id,
            "retriable": self.retriable,
        }


def encode_failure(
    failure: CallFailed, integration: str, account: str | None, function: str
) -> bytes:
    """Give the error object as JSON text."""
    return orjson.dumps(failure.to_json(integration, account, function))


def printable(text: str, limit: int = MAX_QUOTED) -> str:
    """Give foreign text on one line: control and odd characters as a space, cut to `limit`."""
    # Cut first: replacing must not cost more than the little that is kept.
    clean = _UNPRINTABLE.sub(" ", text[: limit + 1]).strip()
    return clean if len(text) <= limit else f"{clean[: limit - 3]}..."


def nearest(
    name: str, known: Iterable[str], *, meant: Mapping[str, str] | None = None
) -> list[str]:
    """
    Give up to three known names like this one, best first, and none much worse than the best.

    `meant` leads from a known name to the one to suggest in its place.
    """
    wanted = name[:64].lower()
    near = get_close_matches(wanted, list(known), n=5, cutoff=_LEAST_LIKENESS)
    likeness = [SequenceMatcher(None, one, wanted).ratio() for one in near]
    kept = [one for one, ratio in zip(near, likeness, strict=True) if ratio > likeness[0] - _SPREAD]
    return list(dict.fromkeys(meant[one] if meant else one for one in kept))[:3]


def did_you_mean(name: str, known: Iterable[str], *, meant: Mapping[str, str] | None = None) -> str:
    """Give ` Did you mean: a, b?`, or nothing when no known name is near."""
    near = nearest(name, known, meant=meant)
    return f" Did you mean: {', '.join(near)}?" if near else ""
