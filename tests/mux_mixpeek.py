"""A whole connector for tests: API, worker, scheduler, Redis and the stand-ins of both vendors."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import redis

from core import keys
from integrations.stubs import Stubs
from tenancy.master_keys import new_line
from tenancy.scopes import Role
from tests.api_server import ApiServer
from tests.deadline import Deadline

SECRET = "canary-webhook-secret-0123456789"
TRIGGER_KEYS = new_line("test")
RENDITIONS = [{"resolution": "720p"}]
BUCKET = "bkt_videos"
SYNCS = f"/v1/buckets/{BUCKET}/syncs"
CONNECTIONS = "/v1/organizations/connections"


def tenant_accounts(stubs: Stubs, tenant: str) -> str:
    """Give the text of an accounts file with the stubs' accounts for one tenant."""
    return stubs.accounts_toml.replace("\n[", f"\n[tenants.{tenant}.")


def sign(body: bytes, secret: str = SECRET, at_s: int | None = None) -> str:
    """Give the header with which Mux signs a body."""
    stamp = int(time.time()) if at_s is None else at_s
    message = f"{stamp}.".encode() + body
    return f"t={stamp},v1={hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()}"


def event(kind: str, asset_id: str, event_id: str = "evt_1") -> bytes:
    """Give the body of an event."""
    data = {"id": asset_id, "status": "ready"}
    whole = {"type": kind, "id": event_id, "object": {"type": "asset", "id": asset_id}}
    return json.dumps({**whole, "data": data}).encode()


@dataclass
class Library:
    """The stub's environment of Mux `default`, and the objects of Mixpeek's `default`."""

    stubs: Stubs
    _ids: list[str] = field(default_factory=list)

    def add(self, *, renditions: bool = True, ready: bool = True, **more: Any) -> str:
        """Add an asset, and give its id."""
        home = self.stubs.mux.environments["default"]
        body: dict[str, Any] = {"playback_policies": ["public"], **more}
        if renditions:
            body["static_renditions"] = RENDITIONS
        made: str = home.create_asset(body)["id"]
        if ready:
            home.finish(made)
        return made

    def change(self, asset_id: str, **changes: Any) -> None:
        """Change an asset."""
        assert self.stubs.mux.environments["default"].update(asset_id, changes)

    def delete(self, asset_id: str) -> None:
        """Delete an asset at Mux."""
        assert self.stubs.mux.environments["default"].delete(asset_id)

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Give the objects that came from Mux."""
        rows = self.stubs.mixpeek.homes["default"].objects.rows
        return [one for one in rows if one["key_prefix"].startswith("/mux/")]

    @property
    def indexed(self) -> list[str]:
        """Give the assets that are indexed, one entry for each object."""
        return sorted(one["source_metadata"]["asset_id"] for one in self.objects)

    @property
    def made(self) -> int:
        """Count the objects that were ever made."""
        return self.stubs.mixpeek.homes["default"].objects.ever


@dataclass
class Desk:
    """A client of the API as one tenant, with what the tests do again and again."""

    api: ApiServer
    client: httpx2.Client
    redis: redis.Redis

    def connect(self, **more: Any) -> dict[str, Any]:
        """Connect the account `default`, with a webhook secret."""
        credentials = {"type": "account", "account": "default", "webhook_secret": SECRET}
        body = {
            "name": "Mux Production",
            "provider_type": "mux",
            "provider_config": {"credentials": credentials},
            **more,
        }
        answer = self.client.post(CONNECTIONS, json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def untested(self, **more: Any) -> str:
        """Make a connection without trying it, and give its id."""
        made: str = self.connect(test_before_save=False, **more)["connection_id"]
        return made

    def sync(self, connection_id: str, **more: Any) -> dict[str, Any]:
        """Make a sync that looks each half minute."""
        body = {"connection_id": connection_id, "polling_interval_seconds": 30, **more}
        answer = self.client.post(SYNCS, json=body)
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def shown(self, sync: dict[str, Any]) -> dict[str, Any]:
        """Give a sync as it is now."""
        found: dict[str, Any] = self.client.get(f"{SYNCS}/{sync['sync_config_id']}").json()
        return found

    def cycles(self, sync: dict[str, Any], count: int) -> dict[str, Any]:
        """Wait until a sync has done so many cycles."""
        key = keys.sync(sync["sync_config_id"])
        Deadline().until(
            lambda: int(str(self.redis.hget(key, "cycles") or 0)) >= count,
            f"cycle {count}",
            seconds=60,
        )
        return self.shown(sync)

    def cycle(self, sync: dict[str, Any]) -> dict[str, Any]:
        """Trigger a cycle and wait for its end."""
        before = self.shown(sync)["sync_run_counter"]
        answer = self.client.post(f"{SYNCS}/{sync['sync_config_id']}/trigger")
        assert answer.status_code == 200, answer.text
        return self.cycles(sync, before + 1)

    def send(self, connection_id: str, body: bytes, signature: str | None = None) -> Any:
        """Send an event as Mux does."""
        headers = {
            "Mux-Signature": sign(body) if signature is None else signature,
            "Content-Type": "application/json",
        }
        return httpx2.post(
            f"{self.api.url}/v1/webhooks/mux/{connection_id}",
            content=body,
            headers=headers,
            timeout=20,
            trust_env=False,
        )


@contextmanager
def desk_of(api: ApiServer, redis_url: str, tenant: str) -> Iterator[Desk]:
    """Open a client with a key that may do all within a tenant."""
    key = api.new_key(tenant, Role.ADMIN.scopes)
    with (
        api.client(Authorization=f"Bearer {key}") as client,
        redis.Redis.from_url(redis_url, decode_responses=True) as texts,
    ):
        yield Desk(api, client, texts)
