"""
Makes a granted call ready to be carried out: its arguments checked, its credentials found.

Runs in: worker, CLI. Trusts: the catalog, the accounts. Refuses: arguments that do not fit,
accounts that are unknown. May import: integrations, core, sandbox vocabulary; never Redis.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from core.errors import NotFound
from integrations.arguments import bind, first_argument
from integrations.failure import NOT_SENT, CallFailed
from integrations.local_call import LocalCall
from integrations.mcp.server_call import ServerCall
from integrations.quota_gate import QuotaGate
from integrations.redaction import preview
from integrations.request import auth_headers, build
from integrations.sender import Identity, Sender
from integrations.throttle import Gate
from integrations.vendor_call import VendorCall

if TYPE_CHECKING:
    from integrations.accounts import Accounts, Credentials
    from integrations.broker import Broker
    from integrations.function import Function
    from integrations.mcp.run_servers import RunServers, Target
    from integrations.pack import FunctionPack, Pack
    from integrations.pending import Work
    from sandbox.calls import Call
    from sandbox.limits import Limits


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that fits. `arguments` are those that would be sent, `shown` a preview of them."""

    work: Work
    arguments: Any
    shown: str


@dataclass(frozen=True, slots=True)
class Preparing:
    """What the calls of one run are made of."""

    broker: Broker
    accounts: Accounts
    limits: Limits
    tenant: str | None = None
    run_id: str = ""

    def prepare(
        self,
        servers: RunServers,
        function: Function,
        account: str | None,
        call: Call,
        target: Target | None,
    ) -> Prepared:
        """
        Check account and arguments; give the work to do. Nothing is sent.

        Raises:
            CallFailed: they do not fit.
        """
        if target is not None:
            served, arguments, shown = servers.prepare(target, self.limits.depth)
            if isinstance(served, ServerCall) and self.tenant:
                served.quota = self._quota(function.integration)
            return Prepared(served, arguments, shown)
        pack = self.broker.catalog.integrations[function.integration].pack
        if function.spec is None or pack is None or account is None:
            arguments = self.arguments(servers, function, call, None)
            return Prepared(LocalCall(function, arguments), arguments, preview(arguments, ()))
        credentials = self._credentials(function, account)
        arguments = self.arguments(servers, function, call, None)
        sender = self._sender(function, function.spec, pack, credentials, call)
        adapted = function.adapter is not None
        request = None if adapted else build(function, pack, arguments, credentials)
        work = VendorCall(sender, credentials, arguments, request)
        return Prepared(work, arguments, preview(arguments, pack.redact, sender.secrets))

    def arguments(
        self, servers: RunServers, function: Function, call: Call, target: Target | None
    ) -> Any:
        """
        Give the arguments of a call by their names.

        Raises:
            CallFailed: they do not fit.
        """
        depth = self.limits.depth
        if target is not None:
            return servers.prepare(target, depth)[1]
        if function.raw:
            return first_argument(function, call.arguments, depth=depth)
        return bind(function, call.arguments, depth=depth)

    def _sender(
        self,
        function: Function,
        spec: FunctionPack,
        pack: Pack,
        credentials: Credentials,
        call: Call,
    ) -> Sender:
        owner = f"{self.tenant or ''}/{pack.name}/{credentials.account}"
        digest = hashlib.sha256(call.arguments).hexdigest()
        # What is made of a secret is one too: the part of a header after its scheme, and how it
        # is written in an address.
        plain = credentials.secrets()
        made = [one.reveal().rpartition(" ")[2] for one in auth_headers(pack, credentials).values()]
        made += [quote(one, safe="") for one in plain]
        return Sender(
            function=function,
            spec=spec,
            pack=pack,
            secrets=list(dict.fromkeys([*plain, *made])),
            http=self.broker.http,
            clock=self.broker.clock,
            throttle=self.broker.throttle,
            identity=Identity(
                self.run_id, call.seq, function.full_name, digest, owner, self.tenant or ""
            ),
        )

    def _quota(self, integration: str) -> QuotaGate:
        account, tenant = f"{self.tenant}/{integration}/", self.tenant or ""
        gate = Gate(account, None, None, None, "", 1.0, tenant, self.run_id, integration)
        return QuotaGate(self.broker.throttle, gate)

    def _credentials(self, function: Function, account: str) -> Credentials:
        try:
            return self.accounts.get(function.integration, account)
        except NotFound as missing:
            hint = f" {missing.hint}" if missing.hint else ""
            raise CallFailed(
                "unknown_account", f"{function.full_name}: {missing.detail};{hint} {NOT_SENT}"
            ) from None
