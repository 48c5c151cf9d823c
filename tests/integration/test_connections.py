"""Connections and syncs over HTTP: whose they are, what is refused, and where their secrets are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

import moonsand
from core import keys
from core.errors import Conflict, Forbidden, NotFound
from core.redis_server import PrivateRedis
from integrations.stubs import Stubs
from tenancy.master_keys import MasterKeys, new_line
from tenancy.scopes import Role, Scope
from tenancy.sealing_key import SealingKey
from tests.api_server import ApiServer
from tests.mux_mixpeek import (
    BUCKET,
    CONNECTIONS,
    SECRET,
    SYNCS,
    TRIGGER_KEYS,
    Desk,
    desk_of,
    event,
    tenant_accounts,
)
from tests.worker_processes import running_worker

MASTER = new_line("test")
SEALING_KEY = SealingKey.of_masters(MasterKeys.parse(MASTER)).line()
TOKEN = {
    "type": "access_token",
    "access_token_id": "canary-token-id",
    "access_token_secret": "canary-token-secret",
}


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """An API that can seal tokens for workers, and keeps webhook secrets."""
    settings = {"trigger_keys": TRIGGER_KEYS, "vault_sealing_key": SEALING_KEY}
    with ApiServer(redis_server.url, log_level="warning", **settings) as server:
        yield server


@pytest.fixture
def desk(api: ApiServer, redis_url: str) -> Iterator[Desk]:
    """A client; nobody runs anything."""
    with desk_of(api, redis_url, "acme") as desk:
        yield desk


@pytest.fixture
def worker(redis_url: str, stubs: Stubs, tmp_path: Path) -> Iterator[None]:
    """A worker with the vault, and the stubs' accounts in the operator's file."""
    accounts, vault = tmp_path / "accounts.toml", tmp_path / "vault.keys"
    accounts.write_text(tenant_accounts(stubs, "acme"))
    vault.write_text(MASTER)
    with running_worker(redis_url, accounts=accounts, vault_keys_file=vault):
        yield


def pointer(answer: httpx2.Response) -> str:
    """Give the pointer of the first thing that is wrong."""
    assert answer.status_code == 422, answer.text
    found: str = answer.json()["errors"][0]["pointer"]
    return found


class TestSecrets:
    """An access token is an account of the vault, a webhook secret is sealed; neither is shown."""

    pytestmark = pytest.mark.jail

    @pytest.mark.usefixtures("worker")
    def test_a_token_becomes_an_account_that_goes_with_its_connection(self, desk: Desk) -> None:
        """Made, listed among the accounts, replaced whole, gone."""
        config = {"credentials": {**TOKEN, "webhook_secret": SECRET}}
        made = desk.connect(test_before_save=False, provider_config=config)
        named = made["connection_id"]
        listed = desk.client.get("/v1/credentials").json()["data"]
        assert [(one["integration"], one["account"]) for one in listed] == [("mux", named)]
        assert listed[0]["fields"] == ["token_id", "token_secret"]
        patched = desk.client.patch(
            f"{CONNECTIONS}/{named}", json={"provider_config": {"credentials": TOKEN}}
        ).json()
        assert (made["has_webhook_secret"], patched["has_webhook_secret"]) == (True, False)
        assert desk.client.delete(f"{CONNECTIONS}/{named}").json() == {"success": True}
        assert desk.client.get("/v1/credentials").json()["data"] == []
        assert desk.send(named, event("video.asset.deleted", "a")).status_code == 404
        kept = f"{desk.redis.hgetall(keys.connection(named))} {made} {patched}"
        assert "canary" not in kept

    @pytest.mark.usefixtures("worker")
    def test_credentials_that_do_not_work_are_not_kept(self, desk: Desk) -> None:
        """`test_before_save` asks Mux; refused, neither connection nor account is there."""
        body = {
            "name": "x",
            "provider_type": "mux",
            "provider_config": {"credentials": {"type": "account", "account": "nowhere"}},
        }
        answer = desk.client.post(CONNECTIONS, json=body)
        assert pointer(answer) == "/provider_config/credentials"
        assert desk.client.post(f"{CONNECTIONS}/list").json()["results"] == []
        good = desk.connect()
        tried = desk.client.post(f"{CONNECTIONS}/{good['connection_id']}/test").json()
        assert (tried["success"], tried["message"]) == (True, "ok")

    @pytest.mark.usefixtures("redis_url")
    def test_a_key_that_sets_no_accounts_makes_no_token(self, api: ApiServer) -> None:
        """To name an account that is there is enough for it."""
        scopes = (Scope.TRIGGERS_WRITE, Scope.WRITE)
        with api.client(Authorization=f"Bearer {api.new_key('acme', scopes)}") as client:
            body = {
                "name": "x",
                "provider_type": "mux",
                "provider_config": {"credentials": TOKEN},
                "test_before_save": False,
            }
            refused = client.post(CONNECTIONS, json=body)
            body["provider_config"] = {"credentials": {"type": "account", "account": "default"}}
            taken = client.post(CONNECTIONS, json=body)
        assert (refused.status_code, taken.status_code) == (403, 200)
        assert "credentials:write" in refused.json()["detail"]


BAD_CREDENTIALS: dict[str, Any] = {
    "no secret": {"access_token_id": "canary"},
    "both": {**TOKEN, "account": "default"},
    "neither": {"type": "account"},
    "a token with an account": {**TOKEN, "type": "account", "account": "a"},
    "another kind": {**TOKEN, "type": "canary"},
    "another name": {**TOKEN, "odd": "canary"},
    "no text": {**TOKEN, "access_token_secret": 5},
    "a short webhook secret": {"type": "account", "account": "a", "webhook_secret": "canary"},
    "no object": "canary",
}


@pytest.mark.parametrize("case", BAD_CREDENTIALS)
def test_wrong_credentials_are_told_without_their_values(desk: Desk, case: str) -> None:
    """Nothing is set anywhere, and no answer repeats what was sent."""
    body = {
        "name": "x",
        "provider_type": "mux",
        "provider_config": {"credentials": BAD_CREDENTIALS[case]},
        "test_before_save": False,
    }
    answer = desk.client.post(CONNECTIONS, json=body)
    assert answer.status_code == 422, answer.text
    told = answer.json()
    assert "canary" not in told["detail"]
    assert all("canary" not in one["detail"] for one in told["errors"])


BAD_SYNCS: dict[str, tuple[dict[str, Any], str]] = {
    "another source": ({"source_path": "s3://x"}, "/source_path"),
    "a path within": ({"source_path": "mux://a/b"}, "/source_path"),
    "a new line": ({"source_path": "mux://\n"}, "/source_path"),
    "another mode": ({"sync_mode": "one_time"}, "/sync_mode"),
    "too often": ({"polling_interval_seconds": 29}, "/polling_interval_seconds"),
    "too seldom": ({"polling_interval_seconds": 901}, "/polling_interval_seconds"),
    "a number as text": ({"polling_interval_seconds": "300"}, "/polling_interval_seconds"),
    "truth as text": ({"reconcile_on_sync": "true"}, "/reconcile_on_sync"),
    "an unknown name": ({"reconcile": True}, "/reconcile"),
    "an unknown filter": ({"file_filters": {"extension": "mp4"}}, "/file_filters/extension"),
    "an unknown operator": (
        {"file_filters": {"metadata_filters": [{"field": "a", "operator": "like", "value": 1}]}},
        "/file_filters/metadata_filters/0/operator",
    ),
    "two names of a size": (
        {"file_filters": {"min_size": 1, "min_size_bytes": 1}},
        "/file_filters",
    ),
    "no connection": ({"connection_id": "con_nothing"}, "/connection_id"),
}


@pytest.mark.parametrize("case", BAD_SYNCS)
def test_a_wrong_sync_is_told_by_pointer(desk: Desk, case: str) -> None:
    """What could not be done is refused when it is asked for."""
    given, where = BAD_SYNCS[case]
    answer = desk.client.post(SYNCS, json={"connection_id": desk.untested(), **given})
    assert pointer(answer) == where


def test_the_documents_fields_have_their_defaults(desk: Desk) -> None:
    """`mux://`, continuous, five minutes, no reconciliation; a sync is PENDING at first."""
    connection = desk.untested()
    shown = desk.client.post(SYNCS, json={"connection_id": connection}).json()
    assert {
        "source_path": "mux://",
        "sync_mode": "continuous",
        "polling_interval_seconds": 300,
        "reconcile_on_sync": False,
        "connection_id": connection,
        "bucket_id": BUCKET,
        "status": "PENDING",
    }.items() <= shown.items()


def test_names_are_enough_and_stand_for_one(desk: Desk) -> None:
    """A connection is found by its name; a second one of that name is a conflict."""
    made = desk.untested(name="Mux Production")
    assert desk.client.get(f"{CONNECTIONS}/Mux Production").json()["connection_id"] == made
    body = {
        "name": "Mux Production",
        "provider_type": "mux",
        "provider_config": {"credentials": {"type": "account", "account": "default"}},
        "test_before_save": False,
    }
    assert desk.client.post(CONNECTIONS, json=body).status_code == 409
    sync = desk.client.post(SYNCS, json={"connection_id": "Mux Production"}).json()
    assert sync["connection_id"] == made
    assert desk.client.delete(f"{CONNECTIONS}/{made}").status_code == 409


def test_of_several_that_want_a_name_at_once_one_has_it(desk: Desk) -> None:
    """Made or renamed at the same moment: a name stands for one connection of its tenant."""
    config = {"credentials": {"type": "account", "account": "default"}}
    body = {"provider_type": "mux", "provider_config": config, "test_before_save": False}

    def make(name: str) -> httpx2.Response:
        return desk.client.post(CONNECTIONS, json={**body, "name": name})

    def rename(named: str) -> httpx2.Response:
        return desk.client.patch(f"{CONNECTIONS}/{named}", json={"name": "wanted"})

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, ["same"] * 8))
        others = [make(f"other {number}").json()["connection_id"] for number in range(8)]
        renamed = list(pool.map(rename, others))
    for answers in (made, renamed):
        assert sorted(one.status_code for one in answers) == [200] + [409] * 7
    names = [one["name"] for one in desk.client.post(f"{CONNECTIONS}/list").json()["results"]]
    assert (names.count("same"), names.count("wanted"), len(names)) == (1, 1, 9)
    assert desk.client.patch(f"{CONNECTIONS}/same", json={"name": "same"}).status_code == 200


def test_a_paused_sync_begins_nothing(desk: Desk) -> None:
    """It is shown as suspended, cannot be triggered, and goes on when it is resumed."""
    one = f"{SYNCS}/{desk.sync(desk.untested())['sync_config_id']}"
    paused = desk.client.post(f"{one}/pause").json()
    assert (paused["status"], paused["paused"], paused["next_sync_at"]) == (
        "SUSPENDED",
        True,
        None,
    )
    assert desk.client.post(f"{one}/trigger").status_code == 409
    assert desk.client.post(f"{one}/resume").json()["status"] == "PENDING"
    first = desk.client.post(f"{one}/trigger").json()["sync_job_id"]
    assert desk.client.post(f"{one}/trigger").json()["sync_job_id"] == first
    run = desk.client.get(f"/v1/runs/{first}").json()
    assert run["script_ref"].startswith("mux-mixpeek-sync@")
    assert run["origin"]["kind"] == "sync"
    accounts = {rule["pattern"]: rule["accounts"] for rule in run["grants"]}
    assert accounts == {
        "mux.list_assets": ["default"],
        "mux.get_asset": ["default"],
        "mixpeek.list_objects": ["default"],
        "mixpeek.create_object": ["default"],
        "mixpeek.delete_object": ["default"],
    }
    assert desk.client.delete(one).json() == {"success": True}
    assert desk.client.get(f"/v1/runs/{first}").json()["status"] == "cancelled"
    assert desk.client.get(one).status_code == 404


def test_two_syncs_do_not_fill_a_bucket_at_once(desk: Desk) -> None:
    """The second waits until the first has no run; in another bucket it need not."""
    connection = desk.untested()
    first, second = (desk.sync(connection)["sync_config_id"] for _ in range(2))
    assert desk.client.post(f"{SYNCS}/{first}/trigger").status_code == 200
    busy = desk.client.post(f"{SYNCS}/{second}/trigger")
    assert busy.status_code == 409
    assert "another sync fills the same bucket" in busy.json()["detail"]
    body = {"connection_id": connection}
    other = desk.client.post("/v1/buckets/bkt_other/syncs", json=body).json()["sync_config_id"]
    assert desk.client.post(f"/v1/buckets/bkt_other/syncs/{other}/trigger").status_code == 200
    desk.client.delete(f"{SYNCS}/{first}")
    assert desk.client.post(f"{SYNCS}/{second}/trigger").status_code == 200


@pytest.mark.jail
@pytest.mark.usefixtures("worker")
def test_the_client_is_called_as_the_documents_call_it(desk: Desk) -> None:
    """The snippets of the documents, with an account in place of their token."""
    with moonsand.Client(desk.api.url, desk.api.new_key("acme", Role.ADMIN.scopes)) as client:
        connection = client.organizations.connections.create(
            name="Mux Production",
            provider_type="mux",
            provider_config={"credentials": {"type": "account", "account": "default"}},
            test_before_save=True,
        )
        bucket = client.buckets.create(
            namespace_id="ns-default",
            name="mux-videos",
            description="Video assets from Mux",
            blob_type="video",
        )
        sync = client.buckets.syncs.create(
            namespace_id="ns-default",
            bucket_id=bucket.bucket_id,
            connection_id=connection.connection_id,
            source_path="mux://",
            file_filters={
                "min_size": 1000000,
                "metadata_filters": [
                    {"field": "passthrough", "operator": "contains", "value": "vi:1"}
                ],
            },
        )
        assert (sync.sync_mode, sync.namespace_id) == ("continuous", "ns-default")
        assert client.buckets.syncs.list(bucket.bucket_id).results == [sync]
        with pytest.raises(Conflict):
            client.organizations.connections.delete(connection.connection_id)
        with pytest.raises(NotFound):
            client.buckets.syncs.get(bucket.bucket_id, "syn_nothing")
    with (
        moonsand.Client(desk.api.url, desk.api.new_key("acme")) as client,
        pytest.raises(Forbidden),
    ):
        client.organizations.connections.list()
