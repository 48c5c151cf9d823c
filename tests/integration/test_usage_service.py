"""The usage report of a real service whose processes are killed, against receipts and leaves."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core.redis_server import PrivateRedis
from ledger.sqlite_archive import NAME, SqliteArchive
from tenancy.scopes import Role, Scope
from tenancy.tenants import OPERATOR
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.integration.test_sequencer_process import sequencer
from tests.worker_processes import running_worker

pytestmark = [pytest.mark.jail, pytest.mark.timeout(180)]
SCRIPTS = (
    "return 1",
    "print(string.rep('x', 1000)) docs.list() return 2",
    "error('on purpose')",
    "return app.integrations.mux.list_assets{}",
)
#: Held by the vendor; of who has no account there an error.
HELD = 'return app.integrations.till.price({ tag = "r" }).value'
LONG = "local n = 0 for i = 1, 3e7 do n = n + i end return n"
SUMS = ("instructions", "cpu_ms", "wall_ms", "memory_bytes", "output_bytes")
TODAY = datetime.now(UTC).date()
FIRST, LAST = str(TODAY - timedelta(days=30)), str(TODAY + timedelta(days=30))
FROM = f"from={FIRST}&to={LAST}"


@dataclass
class Served:
    """What was left by a service, and clients that may ask it."""

    api: ApiServer
    runs: dict[str, str]
    receipts: dict[str, Any]
    directory: Path

    def client(self, tenant: str, *scopes: Scope, **headers: str) -> httpx2.Client:
        """Make a client with a new key."""
        key = self.api.new_key(tenant, scopes)
        return self.api.client(Authorization=f"Bearer {key}", **headers)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Runs of two tenants, with a worker and a sequencer killed while they were at it."""
    base = tmp_path_factory.mktemp("usage")
    (base / "redis").mkdir()
    with (
        PrivateRedis(base / "redis") as redis,
        ApiServer(redis.url, ledger_dir=base / "ledger") as api,
        CountingVendor(base, "acme") as vendor,
        ExitStack() as later,
    ):
        runs: dict[str, str] = {}
        with (
            sequencer(redis.url, base) as killed,
            running_worker(redis.url, **vendor.settings) as first,
        ):
            vendor.arm(Hold.BEFORE)
            for tenant in ("acme", "beta"):
                with api.client(tenant) as client:
                    scripts = [HELD, *([LONG] * 7), *SCRIPTS]
                    runs |= {submit(client, script): tenant for script in scripts}
            Deadline().until(vendor.struck.is_set, "a run in the first worker's hands")
            second = later.enter_context(running_worker(redis.url, **vendor.settings))
            first.kill()
            killed.kill()
        vendor.release()
        with sequencer(redis.url, base):
            receipts = {run: receipt(api, tenant, run) for run, tenant in runs.items()}
            assert second.process.poll() is None
            yield Served(api, runs, receipts, base / "ledger")


def submit(client: httpx2.Client, script: str) -> str:
    """Start a run; give its id."""
    answer = client.post("/v1/runs", json={"script": script})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def receipt(api: ApiServer, tenant: str, run: str) -> Any:
    """Wait for the receipt of a run."""
    with api.client(tenant) as client:
        found: dict[str, httpx2.Response] = {}

        def there() -> bool:
            found["answer"] = client.get(f"/v1/runs/{run}/receipt")
            return found["answer"].status_code == 200

        Deadline().until(there, "the receipt", seconds=50)
        return found["answer"].json()


def ends_of(receipts: Any) -> list[dict[str, Any]]:
    """Give the ends of runs that stand in receipts."""
    leaves = [json.loads(one["leaf"]) for each in receipts for one in each["leaves"]]
    return [one for one in leaves if one["kind"] == "run.finished"]


def totals_of_ends(ends: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up what ends say, without any code of the report's."""
    total: dict[str, Any] = {"runs": len(ends), "attempts": sum(one["attempt"] for one in ends)}
    for name in SUMS:
        total[name] = sum((one["usage"] or {}).get(name, 0) for one in ends)
    total["calls"] = sum(sum(one["calls"].values()) for one in ends)
    total["reasons"] = Counter(one["reason"] for one in ends)
    total["called"] = sum((Counter(one["called"]) for one in ends), Counter())
    return total


def totals_of_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up rows of a report."""
    names = ("runs", "attempts", *SUMS, "calls")
    total: dict[str, Any] = {name: sum(int(row[name]) for row in rows) for name in names}
    for name in ("reasons", "called"):
        total[name] = sum((Counter(row[name]) for row in rows), Counter())
    return total


def of_csv(text: str) -> list[dict[str, Any]]:
    """Read a report in CSV."""
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(text, newline="")))
    return [row | {name: json.loads(row[name]) for name in ("reasons", "called")} for row in rows]


def test_the_report_adds_up_to_the_receipts(served: Served) -> None:
    """By tenant and by key, in JSON and CSV, over HTTP and from the command line: one sum."""
    for tenant in ("acme", "beta"):
        mine = [one for run, one in served.receipts.items() if served.runs[run] == tenant]
        wanted = totals_of_ends(ends_of(mine))
        assert wanted["runs"] == len(mine) == 12
        assert wanted["called"]["docs"] == 1
        with served.client(tenant, Scope.USAGE_READ) as client:
            for by in ("tenant", "key"):
                page = client.get(f"/v1/usage?{FROM}&by={by}").json()
                assert totals_of_rows(page["data"]) == wanted
                text = client.get(f"/v1/usage?{FROM}&by={by}&format=csv")
                assert text.headers["content-type"].startswith("text/csv")
                assert totals_of_rows(of_csv(text.text)) == wanted
        done = command(served, "--tenant", tenant, "--json")
        assert totals_of_rows([json.loads(line) for line in done.splitlines()]) == wanted
        done = command(served, "--tenant", tenant, "--by-key", "--csv")
        assert totals_of_rows(of_csv(done)) == wanted


def test_the_report_adds_up_to_the_archive(served: Served) -> None:
    """An operator's key sees all tenants, and the sum of all is that of the archive's leaves."""
    with closing(SqliteArchive(served.directory / NAME, write=False)) as archive:
        leaves = [json.loads(one.data) for one in archive.leaves()]
    ends = [one for one in leaves if one["kind"] == "run.finished"]
    assert any(one["attempt"] > 1 for one in ends), "no run was executed again"
    with served.client(OPERATOR, *Role.SERVICE.scopes) as client:
        page = client.get(f"/v1/usage?{FROM}").json()
        assert totals_of_rows(page["data"]) == totals_of_ends(ends)
        assert {row["tenant"] for row in page["data"]} == {"acme", "beta"}
    done = command(served, "--json")
    assert totals_of_rows([json.loads(line) for line in done.splitlines()]) == totals_of_ends(ends)


def test_a_tenant_sees_what_it_used_and_nothing_else(served: Served) -> None:
    """No parameter leads to another tenant's usage, and no scope but its own opens the report."""
    with served.client("acme", *Role.ADMIN.scopes) as client:
        rows = client.get(f"/v1/usage?{FROM}&by=key").json()["data"]
        assert {row["tenant"] for row in rows} == {"acme"}
        assert client.get("/v1/usage?tenant=beta").status_code == 422
        assert client.get("/v1/usage", headers={"Moonsand-Tenant": "beta"}).status_code == 403
    with served.client("acme", Scope.READ, Scope.WRITE) as client:
        assert client.get("/v1/usage").status_code == 403
    with served.client("gamma", Scope.USAGE_READ) as client:
        assert client.get(f"/v1/usage?{FROM}").json()["data"] == []
    acting = {"Moonsand-Tenant": "beta"}
    with served.client(OPERATOR, *Role.SERVICE.scopes, **acting) as client:
        rows = client.get(f"/v1/usage?{FROM}").json()["data"]
        assert {row["tenant"] for row in rows} == {"beta"}


def test_pages_of_the_report_have_every_row_once(served: Served) -> None:
    """One row a page gives the same rows as one page, in the same order."""
    with served.client(OPERATOR, *Role.SERVICE.scopes) as client:
        every = client.get(f"/v1/usage?{FROM}&by=key").json()["data"]
        seen: list[Any] = []
        query: dict[str, Any] = {"from": FIRST, "to": LAST, "by": "key", "limit": 1}
        while True:
            page = client.get("/v1/usage", params=query).json()
            seen += page["data"]
            if not page["has_more"]:
                break
            query["cursor"] = page["next_cursor"]
        assert seen == every


@pytest.mark.parametrize(
    "query",
    [
        *("from=yesterday", "to=2026-13-01", "from=2026-02-30", "from=2026-11-24&to=2026-11-23"),
        *("from=2020-01-01", "by=tenants", "format=xml", "limit=0", "limit=1001", "limit=1e3"),
        *("cursor=x", "cursor=W10=", "cursor=WzEsMiwzXQ==", "cursor=%ff", "key=key_1"),
        *("from=2026-01-01%00", "from='; DROP TABLE used; --"),
    ],
)
def test_a_wrong_question_is_told(served: Served, query: str) -> None:
    """Every malformed day, bound or cursor is a 422 that names the parameter."""
    with served.client("acme", Scope.USAGE_READ) as client:
        refused = client.get(f"/v1/usage?{query}")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), refused.text
        assert refused.json()["errors"][0]["parameter"] in query


def command(served: Served, *arguments: str) -> str:
    """Run `moonsand usage` over this archive; give what it wrote."""
    env = environment(served.directory.parent / "home", MOONSAND_LEDGER_DIR=str(served.directory))
    days = ("--from", FIRST, "--to", LAST)
    done = moonsand("usage", *days, *arguments, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout
