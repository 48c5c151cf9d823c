"""
One call of an MCP server, ready to be carried out once.

Runs in: worker, CLI. Trusts: nothing a server says. Refuses: to send a tool's call while the
server's list of tools is another than the one that is trusted, and replies over the limits.
May import: integrations; the MCP SDK only by the connection, and its errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from core.calls import Effect, EffectClass
from integrations.arguments import deeper_than
from integrations.failure import CallFailed, printable
from integrations.function import Function
from integrations.mcp.answers import dumped, value_of, words_of
from integrations.mcp.exchange import CURRENT, Exchange
from integrations.mcp.failures import Blame
from integrations.mcp.pool import McpPool, TooSoon
from integrations.mcp.tool_list import ListRefused
from integrations.mcp.trusted_tools import TrustedServer
from integrations.quota_gate import QuotaGate
from integrations.redaction import scrub, scrub_text
from integrations.sender import Bounds
from integrations.vendor_call import Value
from integrations.vendor_http import NoAnswerKind, Progress

if TYPE_CHECKING:
    from integrations.mcp.connection import Connection

#: A value stands twice in many answers, as text and as structure.
_TWICE = 2
_AROUND_BYTES = 64 * 1024
_LIST_BYTES = 8 * 1024 * 1024

#: Asks an open connection; gives the JSON value of the answer.
Ask = Callable[["Connection", "ServerCall"], Awaitable[Any]]


@dataclass(slots=True)
class ServerCall:
    """
    One call, ready to be carried out; `ask` is what is asked, with `arguments` that were checked.

    `tenant` says whose connection is used; `quota` is what the call has to pass, if anything.
    """

    pool: McpPool
    tenant: str
    trusted: TrustedServer
    function: Function
    arguments: dict[str, Any]
    ask: Ask
    progress: Progress = field(default_factory=Progress)
    quota: QuotaGate | None = None

    @property
    def idempotency_key(self) -> None:
        """No server is known to know a call again."""

    @property
    def secrets(self) -> list[str]:
        """Give what must not come out."""
        return self.trusted.server.secrets()

    @property
    def blame(self) -> Blame:
        """Give whom errors name."""
        name, server = self.function.full_name, self.trusted.server.name
        return Blame(name, server, self._write, self.secrets)

    async def carry_out(self, bounds: Bounds) -> Value:
        """
        Ask, and give the value.

        Raises:
            CallFailed: there is no value; its `effect` says what was done.
            ThrottleUnavailable: nobody can say whether it may be asked; it was not.
        """
        self.progress.write = self._write
        if self.quota is not None:
            await self.quota.enter(self.function.full_name)
        within_s = min(bounds.within_s, self.trusted.server.timeout_s)
        try:
            async with asyncio.timeout(within_s):
                value = await self._value(bounds)
        except TimeoutError:
            pass
        else:
            return self._bounded(value, bounds)
        raise self.blame.silent(NoAnswerKind.TIMEOUT, sent=self.progress.sent)

    @property
    def _write(self) -> bool:
        return self.function.effect_class is EffectClass.WRITE

    async def _value(self, bounds: Bounds) -> Any:
        from integrations.mcp.connection import NotConnected  # noqa: PLC0415 (half a second)

        server = self.trusted.server
        try:
            async with self.pool.connection(self.tenant, server) as connection:
                try:
                    await self._check_trust(connection)
                    return await self._asked(connection, bounds)
                except (asyncio.CancelledError, _Lost):
                    # Nobody waits for the answer any more; the SDK may wait on, and for long.
                    self.pool.drop(connection)
                    raise
        except TooSoon as wait:
            problem = f"the MCP server {server.name} failed a moment ago and is {wait}"
            raise self.blame.unsent("unreachable", problem, retriable=True) from None
        except NotConnected as missing:
            why = missing.exchange
            if why.trouble is not None:
                raise self.blame.silent(why.trouble, sent=False) from None
            status = f" ({why.progress.status})" if why.progress.status else ""
            problem = f"no connection to the MCP server {server.name} can be made{status}"
            raise self.blame.unsent("unreachable", problem, retriable=True) from None
        except _Lost as lost:
            failure = lost.failure
        raise failure

    async def _check_trust(self, connection: Connection) -> None:
        """Refuse a server whose tools are others than those that are trusted."""
        pin = self.trusted.pin
        if pin is None:
            raise not_trusted(self.function.full_name, self.trusted)
        listing = Exchange(_LIST_BYTES)
        try:
            with _on(listing):
                seen = await connection.tools()
        except ListRefused as why:
            problem = f"the MCP server {self.trusted.server.name} is not used: {why}"
            raise self.blame.unsent("tools_changed", problem) from None
        except Exception as error:  # noqa: BLE001 (the SDK raises what the server's nonsense did)
            failure = self._failure(error, listing)
            text = failure.message.partition("; it was sent")[0]
            raise _Lost(self.blame.unsent(failure.code, f"its tools cannot be listed: {text}",
                                          retriable=True)) from None  # fmt: skip
        if seen.digest != pin.tools.digest:
            raise CallFailed(
                "tools_changed",
                f"{self.function.full_name}: the tools of the MCP server"
                f" {self.trusted.server.name} are not those that are trusted"
                f" ({printable(pin.tools.changes_to(seen), 600)}); no tool of it is called until"
                f" the operator trusts it again; no external call was made",
            )

    async def _asked(self, connection: Connection, bounds: Bounds) -> Any:
        exchange = Exchange(_TWICE * bounds.reply_bytes + _AROUND_BYTES, self.progress)
        if self.trusted.server.url is None:
            self.progress.sent = True  # a pipe: what is written is as good as read
        try:
            with _on(exchange):
                return await self.ask(connection, self)
        except CallFailed:
            raise
        except Exception as error:  # noqa: BLE001 (the SDK raises what the server's nonsense did)
            failure = self._failure(error, exchange)
        whole = failure.effect is not Effect.UNKNOWN and exchange.trouble is None
        if whole and failure.code not in {"dropped", "timeout", "bad_request", "not_found"}:
            raise failure
        raise _Lost(failure)

    def _failure(self, error: Exception, exchange: Exchange) -> CallFailed:
        from integrations.mcp.connection import AsksBack, refusal_of  # noqa: PLC0415

        if isinstance(error, AsksBack):
            text = "wants an answer of a person or a model before it goes on, and gets none here"
            name = self.trusted.server.name
            return CallFailed(
                "input_required", f"{self.function.full_name}: the MCP server {name} {text}"
            )
        said = refusal_of(error)
        if said is not None:
            return self.blame.refused(said[0], said[1], exchange)
        kind = exchange.trouble or NoAnswerKind.UNREADABLE
        return self.blame.silent(kind, sent=exchange.progress.sent)

    def _bounded(self, value: Any, bounds: Bounds) -> Value:
        """Give the value as JSON text without credentials, if it is within the limits."""
        try:
            too_deep = deeper_than(value, bounds.depth)
            body = b"" if too_deep else scrub(orjson.dumps(value), value, self.secrets)
        except (TypeError, ValueError, RecursionError):
            raise self._unusable("invalid_reply", "is not JSON that can be passed on") from None
        if too_deep:
            raise self._unusable("reply_too_deep", f"is nested deeper than {bounds.depth} levels")
        if len(body) > bounds.reply_bytes:
            raise self._unusable("reply_too_large", f"is larger than {bounds.reply_bytes} bytes")
        return Value(body)

    def _unusable(self, code: str, problem: str) -> CallFailed:
        done = "; the call itself succeeded" if self._write else ""
        effect = Effect.SUCCEEDED if self._write else Effect.FAILED
        return CallFailed(
            code, f"{self.function.full_name}: the reply {problem}{done}", effect=effect
        )


def not_trusted(name: str, trusted: TrustedServer) -> CallFailed:
    """Make the error for a server none of whose tools is callable."""
    server = trusted.server.name
    why = "is not trusted: the operator has to trust its tools first"
    if not trusted.server.enabled:
        why = "is not enabled"
    return CallFailed(
        "not_trusted", f"{name}: the MCP server {server} {why}; no external call was made"
    )


class _Lost(Exception):
    """The call failed, and its connection with it."""

    def __init__(self, failure: CallFailed) -> None:
        super().__init__(failure.code)
        self.failure = failure


@contextmanager
def _on(exchange: Exchange) -> Iterator[None]:
    token = CURRENT.set(exchange)
    try:
        yield
    finally:
        CURRENT.reset(token)


# --- what can be asked ------------------------------------------------------------------------


async def call_tool(connection: Connection, call: ServerCall) -> Any:
    """Call the tool of a function, and give its value."""
    tool = call.trusted.tools[call.function.name]
    result = await connection.call_tool(tool.name, call.arguments)
    content = [dumped(one) for one in result.content]
    if result.is_error:
        words = printable(scrub_text(words_of(content), call.secrets))
        text = words or "the tool failed and did not say why"
        raise CallFailed("tool_error", f"{call.function.full_name}: {text}")
    return value_of(content, result.structured_content, tool.described.get("outputSchema"))


async def resources(connection: Connection, _: ServerCall) -> Any:
    """List the resources of a server."""
    return await connection.resources()


async def read_resource(connection: Connection, call: ServerCall) -> Any:
    """Read one resource."""
    return dumped(await connection.read_resource(call.arguments["uri"]))


async def prompts(connection: Connection, _: ServerCall) -> Any:
    """List the prompts of a server."""
    return await connection.prompts()


async def get_prompt(connection: Connection, call: ServerCall) -> Any:
    """Get one prompt, filled in."""
    given = call.arguments.get("args") or {}
    return dumped(await connection.get_prompt(call.arguments["name"], given))
