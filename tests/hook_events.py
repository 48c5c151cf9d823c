"""Hooks on a real API, and events as the senders of each scheme sign and send them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
import orjson
import redis

from core import keys
from core.redis_client import connect_async
from tenancy.scopes import Scope
from tests.api_server import ApiServer
from tests.canary import MARK
from triggers.saved import ScriptDraft, check_draft
from triggers.scripts import SavedScripts
from triggers.verification import github, plain_hmac, slack, standard_webhooks, timed_list
from triggers.verification.plain_hmac import PlainHmac
from triggers.verification.schemes import Scheme

SECRET = f"a-secret-{MARK.decode()}-of-some-length"
SIGNED = base64.b64encode(SECRET.encode()).decode()
ALL = (Scope.READ, Scope.WRITE, Scope.TRIGGERS_READ, Scope.TRIGGERS_WRITE)
BODY = b'{"type":"thing.made","id":"evt_7","event_id":"evt_7","n":1.50, "text":"\xc3\xa9"}'
Headers = dict[str, str]


class Service(NamedTuple):
    """An API with a tenant that has a saved script and a key for everything here."""

    api: ApiServer
    client: httpx2.Client
    redis: redis.Redis

    def hook(self, scheme: Scheme, **terms: Any) -> dict[str, Any]:
        """Make a hook with the usual secret."""
        secret = SIGNED if scheme is Scheme.STANDARD else SECRET
        body = {"name": "test", "script_ref": "job", "scheme": scheme, "secret": secret, **terms}
        answer = self.client.post("/v1/hooks", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def shown(self, hook: Mapping[str, Any]) -> dict[str, Any]:
        """Give a hook as it is now."""
        found: dict[str, Any] = self.client.get(hook["path"]).json()
        return found

    def input_of(self, run: str) -> Any:
        """Give what the script of a run gets."""
        found: Any = self.redis.hget(keys.run(run), "input")
        return orjson.loads(found)

    def runs(self) -> list[dict[str, Any]]:
        """List the tenant's runs, newest first."""
        listed: list[dict[str, Any]] = self.client.get("/v1/runs").json()["data"]
        return listed


def save_script(redis_url: str, tenant: str, **draft: Any) -> None:
    """Save a script of `tenant`."""

    async def save() -> None:
        async with connect_async(redis_url) as redis:
            checked = check_draft(ScriptDraft(**draft))
            await SavedScripts(redis).save(tenant, checked, key_id="key_x")

    asyncio.run(save())


@contextmanager
def ready(api: ApiServer, client: redis.Redis, redis_url: str) -> Iterator[Service]:
    """Save the script on an empty Redis, and make a key."""
    save_script(redis_url, "acme", name="job", script="return input")
    key = api.new_key("acme", ALL)
    with api.client(Authorization=f"Bearer {key}") as http:
        yield Service(api, http, client)


def now_text() -> str:
    """Give the time as senders sign it, in whole seconds."""
    return str(int(time.time()))


def _timed(header: str) -> Callable[[bytes], Headers]:
    def headers(body: bytes) -> Headers:
        now = now_text()
        return {header: f"t={now},v1={timed_list.sign(SECRET, now, body).decode()}"}

    return headers


def _slack(body: bytes) -> Headers:
    now = now_text()
    signature = slack.sign(SECRET, now, body).decode()
    return {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": signature}


def _github(body: bytes) -> Headers:
    signature = github.sign(SECRET, body).decode()
    return {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": "d-1", "X-GitHub-Event": "push"}


def _standard(body: bytes) -> Headers:
    now = now_text()
    signature = standard_webhooks.sign(SECRET.encode(), "msg_1", now, body).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": now, "webhook-signature": signature}


def _plain(body: bytes) -> Headers:
    return {"X-Signature": plain_hmac.sign(SECRET, body, PlainHmac()).decode()}


SIGN: dict[Scheme, Callable[[bytes], Headers]] = {
    Scheme.MUX: _timed("Mux-Signature"),
    Scheme.STRIPE: _timed("Stripe-Signature"),
    Scheme.SLACK: _slack,
    Scheme.GITHUB: _github,
    Scheme.STANDARD: _standard,
    Scheme.HMAC: _plain,
}


def send(
    service: Service, hook: Mapping[str, Any], body: bytes, headers: Headers, **more: str
) -> httpx2.Response:
    """Send an event as its sender does: without an API key."""
    given = {"Content-Type": "application/json", **headers, **more}
    with service.api.client() as client:
        return client.post(hook["path"], content=body, headers=given)
