"""From what went wrong between us and an MCP server to the error a script sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.calls import Effect
from integrations.failure import NOT_SENT, CallFailed, printable
from integrations.mcp.exchange import Exchange
from integrations.redaction import scrub_text
from integrations.vendor_http import NoAnswerKind

#: Codes of JSON-RPC and of the protocol that tell a script what to do about it.
_CODES = {
    -32700: "invalid_reply", -32600: "bad_request", -32601: "not_found", -32602: "invalid",
    -32603: "server_error", -32002: "not_found", -32001: "bad_request",
}  # fmt: skip
#: Codes the SDK gives itself: the connection ended, nothing came in time.
_CLOSED = -32000
_TIMEOUT = -32001
_STATUSES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}
#: Statuses of intermediaries that do not know what became of a request.
_UNDECIDED = frozenset({408, 500, 502, 503, 504})
_SILENCE = {
    NoAnswerKind.UNREACHABLE: ("cannot be reached", "unreachable"),
    NoAnswerKind.TIMEOUT: ("did not answer in time", "timeout"),
    NoAnswerKind.DROPPED: ("ended the connection before its answer was whole", "dropped"),
    NoAnswerKind.TOO_LARGE: ("gave a reply that is larger than allowed", "reply_too_large"),
    NoAnswerKind.FORBIDDEN: (
        "has an address in a network where no request may go", "address_refused"
    ),
    NoAnswerKind.UNREADABLE: ("gave a reply that cannot be read", "invalid_reply"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Blame:
    """
    What is said of a failure: `name` of what was called, `server` that was asked.

    `write` tells whether it may have changed something, `secrets` are kept out of every message.
    """

    name: str
    server: str
    write: bool
    secrets: Sequence[str]

    def silent(self, kind: NoAnswerKind, *, sent: bool) -> CallFailed:
        """Make the error for a call to which no answer came that can be used."""
        words, code = _SILENCE[kind]
        text = f"{self.name}: the MCP server {self.server} {words}"
        if not sent:
            again = kind is not NoAnswerKind.FORBIDDEN
            return CallFailed(code, f"{text}; {NOT_SENT}", retriable=again)
        if self.write:
            text += "; it was sent and may have been done"
            return CallFailed(code, text, effect=Effect.UNKNOWN)
        return CallFailed(code, text, retriable=kind is not NoAnswerKind.TOO_LARGE)

    def unsent(self, code: str, problem: str, *, retriable: bool = False) -> CallFailed:
        """Make the error for a call that was not sent."""
        words = printable(scrub_text(problem, self.secrets))
        return CallFailed(code, f"{self.name}: {words}; {NOT_SENT}", retriable=retriable)

    def refused(self, number: int, words: str, exchange: Exchange) -> CallFailed:
        """Make the error for a JSON-RPC error, which may be the SDK's own word for a trouble."""
        status = exchange.progress.status
        if exchange.trouble is not None:
            return self.silent(exchange.trouble, sent=exchange.progress.sent)
        if number == _CLOSED:
            return self.silent(NoAnswerKind.DROPPED, sent=exchange.progress.sent)
        if number == _TIMEOUT and status is None:
            return self.silent(NoAnswerKind.TIMEOUT, sent=exchange.progress.sent)
        if number == -32700:
            return self.silent(NoAnswerKind.UNREADABLE, sent=exchange.progress.sent)
        said = printable(scrub_text(words, self.secrets)) or "it said nothing"
        code = _CODES.get(number, "mcp_error")
        if status is not None and status >= 300:
            code = _STATUSES.get(status, code)
            said = f"{status}: {said}"
        if status is not None and 300 <= status < 400:
            code, said = "redirect_refused", f"{status}: it redirects, and no redirect is followed"
        unknown = self.write and (status in _UNDECIDED or status == 202)
        fate = "; it was sent and may have been done" if unknown else ""
        return CallFailed(
            code,
            f"{self.name}: the MCP server {self.server} refused: {said}{fate}",
            effect=Effect.UNKNOWN if unknown else Effect.FAILED,
            status=status if status is not None and status >= 300 else None,
            retriable=not self.write and (status in _UNDECIDED or status == 429),
        )
