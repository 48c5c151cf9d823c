"""`check: true` in a submission: what is wrong is told with its line, and nothing is accepted."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
import redis

import moonsand
from api.checks import MAX_WAITING_BYTES, Checks
from core.errors import QuotaExceeded
from moonsand.exchange import CheckFailed
from tests.api_server import ApiServer
from tests.command import environment
from tests.command import moonsand as command
from tests.shipped import CATALOG

WRONG = """local mux = app.integrations.mux
mux.list_asset()
mux.list_assets({ limit = 500 })
"""


def test_findings_are_a_problem_with_lines(client: httpx2.Client, redis_sync: redis.Redis) -> None:
    """422, one entry of `errors` for each finding, and no trace of a run."""
    answer = client.post("/v1/runs", json={"script": WRONG, "check": True})
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "invalid"
    assert problem["detail"] == (
        "/script line 2: Unknown function: app.integrations.mux.list_asset."
        " Did you mean: list_assets? (and 1 more)"
    )
    assert problem["errors"][1] == {
        "pointer": "/script",
        "line": 3,
        "column": 19,
        "code": "out_of_range",
        "detail": "mux.list_assets: limit must be at most 100, not 500",
        "hint": "Accepted parameters: limit, page, cursor, live_stream_id, upload_id.",
    }
    assert client.get("/v1/runs").json()["data"] == []
    assert not [key for key in redis_sync.scan_iter() if b"run_" in key]


def test_a_clean_script_is_accepted(client: httpx2.Client) -> None:
    """A script without findings is a run like any other."""
    script = "return app.integrations.mux.list_assets({ limit = 5 })"
    answer = client.post("/v1/runs", json={"script": script, "check": True})
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"


def test_without_check_nothing_is_checked(client: httpx2.Client) -> None:
    """A check is asked for; without it a script is only read when it runs."""
    for body in ({"script": WRONG}, {"script": WRONG, "check": False}):
        assert client.post("/v1/runs", json=body).status_code == 202


def test_check_is_true_or_false(client: httpx2.Client) -> None:
    """Another value is refused by its name."""
    answer = client.post("/v1/runs", json={"script": "return 1", "check": "yes"})
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/check"]


def test_at_most_twenty_findings_are_told(client: httpx2.Client) -> None:
    """An answer stays small however much is wrong."""
    answer = client.post("/v1/runs", json={"script": "prnt()\n" * 500, "check": True})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20


def test_the_client_tells_every_finding(api: ApiServer, redis_url: str) -> None:
    """The Python client raises them as one error that lists all."""
    with moonsand.Client(api.url, api.new_key("acme")) as client:
        with pytest.raises(CheckFailed) as caught:
            client.submit(WRONG, check=True)
        assert client.list().runs == []
    assert [(one["line"], one["code"]) for one in caught.value.findings] == [
        (2, "unknown_function"),
        (3, "out_of_range"),
    ]


def test_the_command_shows_them_as_check_does(api: ApiServer, redis_url: str) -> None:
    """`moonsand submit --check` submits nothing and exits with 1, for people and as JSON."""
    env = environment(MOONSAND_URL=api.url, MOONSAND_API_KEY=api.new_key("acme"))
    done = command("submit", "--check", "-e", "prnt(1)", env=env)
    assert (done.returncode, done.stderr) == (1, "nothing was submitted\n")
    assert done.stdout == (
        "eval:1:1: unknown_name: the global prnt is never set\n    Did you mean: print?\n"
    )
    done = command("submit", "--check", "--json", "-e", "prnt(1)", env=env)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        '{"ok": false, "findings": [{"line": 1, "column": 1, "code": "unknown_name",'
        ' "message": "the global prnt is never set", "hint": "Did you mean: print?"}]}\n'
    )
    done = command("submit", "--check", "-e", "return 1", env=env)
    assert (done.returncode, done.stdout[:4]) == (0, "run_")


async def test_one_tenant_cannot_fill_the_queue_of_checks() -> None:
    """Beyond its bytes a tenant is told to come back; others are not, and later it may again."""
    script = b"return 1 -- " + b"x" * 250_000
    with Checks(CATALOG) as checks:
        work = [checks.check("acme", script) for _ in range(8)]
        ended = await asyncio.gather(
            checks.check("other", b"return 1"), *work, return_exceptions=True
        )
        refused = [one for one in ended if isinstance(one, QuotaExceeded)]
        assert len(refused) == 8 - MAX_WAITING_BYTES // len(script)
        assert [one for one in ended if one not in refused] == [None] * (9 - len(refused))
        await checks.check("acme", script)
