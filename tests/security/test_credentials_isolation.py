"""Two tenants never see, touch or guess each other's accounts, over HTTP or in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import redis

from core import keys
from core.redis_server import PrivateRedis
from tenancy.master_keys import MasterKeys, new_line
from tenancy.scopes import Role
from tenancy.sealing_key import SealingKey
from tests.api_server import ApiServer
from tests.security.test_tenant_isolation import told
from tests.worker_processes import running_worker

pytestmark = pytest.mark.jail
MASTER = new_line("test")
SEALING_KEY = SealingKey.of_masters(MasterKeys.parse(MASTER)).line()
MUX = {"token_id": "id", "token_secret": "canary-isolated-secret"}


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API for all tests of this file."""
    with ApiServer(redis_server.url, vault_sealing_key=SEALING_KEY) as server:
        yield server


@pytest.fixture
def two(
    api: ApiServer, redis_url: str, tmp_path: Path
) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    """Tenants acme and globex, and a worker for both."""
    path = tmp_path / "vault.keys"
    path.write_text(MASTER)
    heads = [f"Bearer {api.new_key(name, Role.ADMIN.scopes)}" for name in ("acme", "globex")]
    with (
        running_worker(redis_url, vault_keys_file=path),
        api.client(Authorization=heads[0]) as acme,
        api.client(Authorization=heads[1]) as globex,
    ):
        yield acme, globex


ROUTES = [
    ("GET", "/v1/credentials/mux/{}"),
    ("DELETE", "/v1/credentials/mux/{}"),
    ("POST", "/v1/credentials/mux/{}/test"),
]


def test_a_foreign_account_answers_as_one_that_never_was(
    two: tuple[httpx2.Client, httpx2.Client],
) -> None:
    """The same bytes for another tenant's account and for none; and it is not touched."""
    acme, globex = two
    acme.put("/v1/credentials/mux/theirs", json={"fields": MUX})
    globex.put("/v1/credentials/mux/own", json={"fields": MUX})
    before = acme.get("/v1/credentials").json()
    for method, path in ROUTES:
        foreign = globex.request(method, path.format("theirs"))
        unknown = globex.request(method, path.format("nowhere"))
        assert foreign.status_code == 404
        assert told(foreign) == told(unknown)
        assert "acme" not in foreign.text
    assert globex.post("/v1/credentials/rotate").json() == {"accounts": 1}
    assert [one["account"] for one in globex.get("/v1/credentials").json()["data"]] == ["own"]
    assert globex.put("/v1/credentials/mux/theirs", json={"fields": MUX}).status_code == 200
    assert acme.get("/v1/credentials").json() == before


def test_a_tenant_without_accounts_has_none_to_seal_anew(
    two: tuple[httpx2.Client, httpx2.Client],
) -> None:
    """An empty vault is listed as empty; whether others have accounts is not told."""
    acme, globex = two
    acme.put("/v1/credentials/mux/default", json={"fields": MUX})
    assert globex.get("/v1/credentials").json() == {"data": []}
    assert globex.post("/v1/credentials/rotate").status_code == 404


@pytest.mark.parametrize("part", [keys.vault_key, keys.vault_index, keys.vault_accounts])
def test_what_is_moved_in_redis_between_tenants_opens_for_neither(
    two: tuple[httpx2.Client, httpx2.Client], redis_sync: redis.Redis, part: object
) -> None:
    """Key, index or entries of one tenant in the place of another's: its runs get no account."""
    acme, globex = two
    for client in two:
        client.put("/v1/credentials/mux/default", json={"fields": MUX})
    copied = redis_sync.dump(part("acme"))  # type: ignore[operator]
    redis_sync.restore(part("globex"), 0, copied, replace=True)  # type: ignore[operator,arg-type]
    answer = globex.post("/v1/credentials/mux/default/test")
    if answer.status_code == 200:
        found = answer.json()
        assert (found["ok"], found["code"]) == (False, "internal")
    else:
        assert answer.status_code == 500
        assert answer.json()["code"] == "internal"
    assert "canary" not in answer.text
    assert acme.get("/v1/credentials/mux/default").status_code == 200


def test_swapped_entries_of_one_tenant_do_not_open(
    two: tuple[httpx2.Client, httpx2.Client], redis_sync: redis.Redis
) -> None:
    """Accounts and integrations of one tenant cannot take each other's place either."""
    acme, _ = two
    for path in ("mux/one", "mux/two", "heygen/one"):
        fields = {"api_key": "k"} if path.startswith("heygen") else MUX
        assert acme.put(f"/v1/credentials/{path}", json={"fields": fields}).status_code == 200
    entries = keys.vault_accounts("acme")
    for source in ("mux.two", "heygen.one"):
        kept = redis_sync.hget(entries, "mux.one")
        redis_sync.hset(entries, "mux.one", redis_sync.hget(entries, source))
        found = acme.post("/v1/credentials/mux/one/test").json()
        assert (found["ok"], found["code"]) == (False, "internal")
        redis_sync.hset(entries, "mux.one", kept)
