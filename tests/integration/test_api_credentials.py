"""Accounts over HTTP: a tenant writes, tries and deletes them, and never reads a value back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis

from core.redis_server import PrivateRedis
from integrations.stubs import Stubs
from tenancy.master_keys import MasterKeys, new_line
from tenancy.scopes import Role, Scope
from tenancy.sealing_key import SealingKey
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from tests.worker_processes import WorkerProcess, running_worker

pytestmark = pytest.mark.jail
MASTER = new_line("test")
SEALING_KEY = SealingKey.of_masters(MasterKeys.parse(MASTER)).line()
MUX = {"token_id": "id", "token_secret": "canary-http-secret"}
CONVEX = {"deployment_url": "https://happy-otter-123.convex.cloud", "deploy_key": "canary-key"}


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """An API that can seal and not open."""
    with ApiServer(redis_server.url, vault_sealing_key=SEALING_KEY) as server:
        yield server


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    """The workers' master key."""
    path = tmp_path / "vault.keys"
    path.write_text(MASTER)
    return path


@pytest.fixture
def accounts_file(tmp_path: Path) -> Path:
    """The operator's accounts: one of acme."""
    path = tmp_path / "accounts.toml"
    path.write_text('[tenants.acme.heygen.default]\napi_key = "canary-file"\n')
    return path


@pytest.fixture
def worker(redis_url: str, keys_file: Path, accounts_file: Path) -> Iterator[WorkerProcess]:
    """A worker with the vault."""
    with running_worker(redis_url, vault_keys_file=keys_file, accounts=accounts_file) as process:
        yield process


def client_of(api: ApiServer, tenant: str, *scopes: Scope) -> httpx2.Client:
    """Make a client with a key of these scopes; all, when none is named."""
    key = api.new_key(tenant, scopes or Role.ADMIN.scopes)
    return api.client(Authorization=f"Bearer {key}")


def test_an_account_goes_in_and_no_value_comes_out(api: ApiServer, worker: WorkerProcess) -> None:
    """Set, shown, listed, set anew, sealed anew, deleted; no answer holds a value."""
    with client_of(api, "acme") as client:
        answers = [
            client.put("/v1/credentials/mux/default", json={"fields": MUX}),
            client.put("/v1/credentials/convex/prod", json={"fields": CONVEX}),
            client.put("/v1/credentials/mux/default", json={"fields": MUX}),
            client.get("/v1/credentials/mux/default"),
            client.post("/v1/credentials/rotate"),
            client.get("/v1/credentials"),
            client.delete("/v1/credentials/mux/default"),
        ]
        gone = client.get("/v1/credentials/mux/default")
        twice = client.delete("/v1/credentials/mux/default")
    assert [one.status_code for one in answers] == [200, 200, 200, 200, 200, 200, 204]
    assert (gone.status_code, twice.status_code) == (404, 404)
    shown = answers[3].json()
    assert (shown["version"], shown["set_by"], shown["fields"]) == (3, "tenant", [*MUX])
    assert answers[4].json() == {"accounts": 2}
    named = [f"{one['integration']}.{one['account']}" for one in answers[5].json()["data"]]
    assert named == ["convex.prod", "mux.default"]
    assert "canary" not in "".join(one.text for one in [*answers, gone])


BAD = {
    "no object": ([], ""),
    "no fields": ({}, "/fields"),
    "another name": ({"fields": MUX, "x": 1}, ""),
    "no text": ({"fields": MUX | {"token_id": 1}}, "/fields/token_id"),
    "unknown field": ({"fields": MUX | {"tokn_id": "x"}}, "/fields/tokn_id"),
    "missing field": ({"fields": {"token_id": "x"}}, "/fields/token_secret"),
    "too long": ({"fields": MUX | {"token_secret": "x" * 8193}}, "/fields/token_secret"),
    "control character": ({"fields": MUX | {"token_secret": "a\nb"}}, "/fields/token_secret"),
    "odd name": ({"fields": MUX | {"a/b~c": "x"}}, "/fields/a~1b~0c"),
    "a fixed address": ({"fields": MUX | {"base_url": "https://x.example"}}, "/fields/base_url"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_fields_are_told_by_pointer_without_their_value(api: ApiServer, case: str) -> None:
    """Refused before any worker is asked, with the place of what is wrong."""
    body, pointer = BAD[case]
    with client_of(api, "acme") as client:
        answer = client.put("/v1/credentials/mux/default", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert "canary" not in answer.text


def test_what_no_header_can_carry_is_refused(api: ApiServer) -> None:
    """A key outside ASCII, or with spaces around it, would break in the worker, in each run."""
    with client_of(api, "acme") as client:
        for odd in ("canary-\u00e9", "canary-\u2028x", "canary-\u0085", " canary", "canary\u00a0"):
            body = {"fields": {"api_key": odd}}
            answer = client.put("/v1/credentials/heygen/default", json=body)
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["pointer"] == "/fields/api_key"
            assert "canary" not in answer.text


URLS = [
    *("https://169.254.169.254", "http://169.254.169.254", "https://localhost", "https://[::1]"),
    *("http://127.0.0.1:1", "https://2852039166", "https://0x7f.1", "https://a.convex.cloud@x.io"),
    *("https://x.io/.convex.cloud", "https://x.io#.convex.cloud", "https://x.io?.convex.cloud"),
    *("https://a.convex.cloud.x.io", "https://a.convex.cloud:444", "https://a.convex.cloud./"),
    *("https://a.convex.cloud\\@x.io", "https://x.io%2f.convex.cloud", "//a.convex.cloud", "x"),
    *(
        "https://\uff41.convex.cloud",
        "https://a.convex.cloud\n",
        "https://metadata.google.internal",
    ),
]


@pytest.mark.parametrize("url", URLS)
def test_a_tenants_address_is_held_to_the_pattern(api: ApiServer, url: str) -> None:
    """Private, encoded and tricky hosts are refused where they are written."""
    with client_of(api, "acme") as client:
        fields = CONVEX | {"deployment_url": url}
        answer = client.put("/v1/credentials/convex/default", json={"fields": fields})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/fields/deployment_url"


def test_names_scopes_and_parameters_are_checked(api: ApiServer) -> None:
    """Unknown integrations, names Lua cannot say, missing scopes, queries that are not there."""
    body = {"fields": MUX}
    with client_of(api, "acme") as client:
        unknown = client.put("/v1/credentials/muxx/default", json=body)
        names = [
            client.put(f"/v1/credentials/mux/{name}", json=body).status_code
            for name in ("Default", "end", "list_assets", "a-b", "a" * 65, "%2e%2e")
        ]
        query = client.get("/v1/credentials?tenant=globex")
        text = client.put("/v1/credentials/mux/default", content=b"{}")
    assert (unknown.status_code, unknown.json()["hint"]) == (404, "did you mean mux?")
    assert names == [422] * 6
    assert (query.status_code, text.status_code) == (422, 415)
    with client_of(api, "acme", Scope.READ, Scope.WRITE, Scope.CREDENTIALS_READ) as reader:
        refused = [
            reader.put("/v1/credentials/mux/default", json=body),
            reader.delete("/v1/credentials/mux/default"),
            reader.post("/v1/credentials/rotate"),
        ]
    with client_of(api, "acme", Scope.CREDENTIALS_WRITE) as writer:
        refused += [writer.get("/v1/credentials"), writer.get("/v1/credentials/mux/default")]
    with client_of(api, "acme", Scope.CREDENTIALS_READ, Scope.CREDENTIALS_WRITE) as no_runs:
        refused.append(no_runs.post("/v1/credentials/mux/default/test"))
    assert [one.status_code for one in refused] == [403] * 6
    with api.client() as bare:
        assert bare.get("/v1/credentials").status_code == 401


def test_the_operators_accounts_stay_the_operators(
    api: ApiServer, worker: WorkerProcess, redis_url: str, keys_file: Path
) -> None:
    """Those of the vault and those of the file: shown, neither replaced nor deleted."""
    env = environment(REDIS_URL=redis_url, MOONSAND_VAULT_KEYS_FILE=str(keys_file))
    arguments = ("credentials", "set", "mux", "--tenant", "acme")
    assert moonsand(*arguments, env=env, stdin=json.dumps(MUX)).returncode == 0
    with client_of(api, "acme") as client:
        shown = client.get("/v1/credentials/mux/default").json()
        refused = [
            client.put("/v1/credentials/mux/default", json={"fields": MUX}),
            client.delete("/v1/credentials/mux/default"),
            client.put("/v1/credentials/heygen/default", json={"fields": {"api_key": "k"}}),
        ]
        other = client.put("/v1/credentials/heygen/own", json={"fields": {"api_key": "k"}})
    assert shown["set_by"] == "operator"
    assert [one.status_code for one in refused] == [409] * 3
    assert other.status_code == 200


def test_a_test_is_a_run_of_the_tenant(
    api: ApiServer, worker: WorkerProcess, redis_url: str, keys_file: Path, stubs: Stubs
) -> None:
    """The worker makes the call, with right and wrong credentials; none without an account."""
    env = environment(REDIS_URL=redis_url, MOONSAND_VAULT_KEYS_FILE=str(keys_file))
    right = {
        "token_id": "stub-mux-default-id",
        "token_secret": "stub-mux-default-secret",
        "base_url": stubs.base_urls["mux"],
    }
    for account, fields in (("good", right), ("bad", right | {"token_secret": "wrong"})):
        arguments = ("credentials", "set", "mux", account, "--tenant", "acme")
        assert moonsand(*arguments, env=env, stdin=json.dumps(fields)).returncode == 0
    with client_of(api, "acme") as client:
        good = client.post("/v1/credentials/mux/good/test")
        bad = client.post("/v1/credentials/mux/bad/test").json()
        none = client.post("/v1/credentials/mux/none/test")
        run = client.get(good.headers["location"]).json()
    assert (good.status_code, good.json()) == (200, {"run": run["id"], "ok": True})
    assert (bad["ok"], bad["status"]) == (False, 401)
    assert none.status_code == 404
    assert run["name"] == "credentials test"
    assert [one["name"] for one in run["calls"]] == ["mux.list_assets"]


def test_without_a_worker_nothing_is_done_now_or_later(
    api: ApiServer,
    redis_url: str,
    keys_file: Path,
    redis_sync: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer says that nothing was changed, and a worker that comes later finds nothing."""
    monkeypatch.setattr("tenancy.desk._LINGER_S", 60)  # it does not go by itself
    with client_of(api, "acme") as client:
        answer = client.put("/v1/credentials/mux/default", json={"fields": MUX})
        assert answer.status_code == 503
        assert "nothing was changed" in answer.json()["detail"]
        assert redis_sync.keys("ms:vault-ask:*") == []
        with running_worker(redis_url, vault_keys_file=keys_file):
            assert client.get("/v1/credentials").json() == {"data": []}
