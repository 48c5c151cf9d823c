"""One function called without a script, and what such a call would send."""

from __future__ import annotations

from typing import Any

import orjson

from core.clock import now_ms
from core.errors import NotFound
from integrations.accounts import Accounts
from integrations.arguments import bind, refusal
from integrations.broker import Broker
from integrations.catalog import Catalog
from integrations.failure import NOT_SENT, CallFailed
from integrations.function import Function
from integrations.gate import Gate, approval_required
from integrations.redaction import REDACTED, scrub_text
from integrations.request import auth_headers, build
from integrations.vendor_http import VendorHttp
from integrations.visible import subject_of
from ledger.tape import MemoryTape
from sandbox.calls import Call, EndRun
from sandbox.limits import Limits
from tenancy.grants import Grants

_PREFIX = "app.integrations."


def split_name(name: str) -> tuple[str, str | None, str]:
    """
    Give integration, account and function of `mux.list_assets` or `mux.production.list_assets`.

    Raises:
        CallFailed: it is no such name.
    """
    parts = name.removeprefix(_PREFIX).removeprefix("integrations.").split(".")
    if len(parts) == 2:
        return parts[0], None, parts[1]
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    raise CallFailed("unknown_function", f"give a name such as mux.list_assets; {NOT_SENT}")


async def call_directly(  # noqa: PLR0913, PLR0917 (what a call is made of, in its own order)
    catalog: Catalog,
    accounts: Accounts,
    name: str,
    account: str | None,
    arguments: Any,
    grants: Grants | None = None,
) -> Any:
    """
    Call a function and give its reply; `account` wins over one in the name.

    Without `grants` everything may be called.

    Raises:
        CallFailed: there is no reply.
    """
    integration, of_name, function = split_name(name)
    http = VendorHttp()
    run = Broker(catalog, http, now_ms).open(
        tenant=None,
        run_id="call",
        grants=grants or Grants.everything(),
        accounts=accounts,
        tape=MemoryTape(now_ms),
        limits=Limits(),
    )
    try:
        positional = orjson.dumps([arguments])
        answer = await run.call(Call(1, integration, function, account or of_name, positional))
    finally:
        await run.abandon()
        await http.close()
    if isinstance(answer, EndRun):
        raise CallFailed("effect_unknown", f"{answer.message}; {answer.hint}")
    value = orjson.loads(answer.body)
    if not answer.ok:
        raise CallFailed(value["code"], value["message"], status=value["status"])
    return value


def request_of(  # noqa: PLR0913, PLR0917 (as `call_directly`)
    catalog: Catalog,
    accounts: Accounts,
    name: str,
    account: str | None,
    arguments: Any,
    grants: Grants | None = None,
) -> dict[str, Any]:
    """
    Say what a call would send, without sending it; credentials are left out.

    Without `grants` everything may be called.

    Raises:
        CallFailed: the call would be refused.
    """
    integration, of_name, short = split_name(name)
    function = catalog.function(integration, short)
    pack = catalog.integrations[integration].pack
    if function.spec is None or pack is None:
        raise CallFailed("unknown_function", f"{name} sends nothing; {NOT_SENT}")
    used = account or of_name or "default"
    try:
        credentials = accounts.get(integration, used)
    except NotFound as missing:
        raise CallFailed("unknown_account", f"{missing.detail}; {NOT_SENT}") from None
    given = bind(function, orjson.dumps([arguments]), depth=Limits().depth)
    _admit(function, used, given, grants or Grants.everything())
    about: dict[str, Any] = {
        "function": function.full_name,
        "account": used,
        "effect": function.effect_class.value,
        "arguments": given,
    }
    if function.adapter is not None:
        # Which requests an adapter sends depends on what is answered to the first.
        return {**about, "request": None, "adapter": function.spec.adapter}
    request = build(function, pack, given, credentials)
    if request.body is not None and len(request.body) > Limits().reply_bytes:
        raise refusal(function, "the body is too large")
    secrets = [*credentials.secrets(), *(
        one.reveal().rpartition(" ")[2] for one in auth_headers(pack, credentials).values()
    )]  # fmt: skip
    sent = {
        "method": request.method,
        "url": scrub_text(request.url, secrets),
        "headers": {**request.headers, **dict.fromkeys(request.secret_headers, REDACTED)},
        "body": None if request.body is None else scrub_text(request.body.decode(), secrets),
    }
    return {**about, "request": sent}


def _admit(function: Function, account: str, arguments: Any, grants: Grants) -> None:
    """See that the broker would make this call."""
    subject = subject_of(function)
    admission = Gate(grants).admit(subject, account, arguments)
    if admission.asked_by is not None:
        raise approval_required(subject, admission.asked_by)
