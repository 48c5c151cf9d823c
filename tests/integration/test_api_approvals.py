"""Approvals over HTTP, from the command line and by the clients: who may answer what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import moonsand
from core import keys
from core.errors import Conflict, Forbidden, NotFound
from core.ids import new_id
from core.redis_client import connect
from core.redis_server import PrivateRedis
from runs.model import RunRecord
from tenancy.scopes import Scope
from tests.api_server import ApiServer
from tests.command import moonsand as command
from tests.deadline import Deadline
from tests.worker_processes import running_worker

pytestmark = pytest.mark.jail
APPROVER = (Scope.READ, Scope.APPROVE)
ASKER = """
local said = approval.request{ title = "Go\\non?\\27[2J", details = { rows = { 1, 2 } } }
return said.comment
"""


@pytest.fixture(scope="module")
def api(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """A service with one real worker."""
    with connect(redis_server.url) as redis:
        redis.flushall()
    with (
        ApiServer(redis_server.url) as served,
        running_worker(redis_server.url, wait_in_place_ms=50),
    ):
        yield served


@pytest.fixture
def submitter(api: ApiServer) -> Iterator[moonsand.Client]:
    """Whoever starts runs; its key is an ordinary one."""
    with moonsand.Client(api.url, api.new_key("acme")) as client:
        yield client


@pytest.fixture
def approver(api: ApiServer) -> Iterator[moonsand.Client]:
    """Whoever may answer, and start nothing."""
    with moonsand.Client(api.url, api.new_key("acme", APPROVER)) as client:
        yield client


def asking(client: moonsand.Client) -> RunRecord:
    """Start a run that asks, and wait until it does."""
    run_id = client.submit(ASKER).id

    def look() -> bool:
        return client.get(run_id).status.value == "waiting"

    Deadline().until(look, "the question")
    return client.get(run_id)


def test_only_a_key_with_the_scope_answers(
    api: ApiServer, submitter: moonsand.Client, approver: moonsand.Client
) -> None:
    """Who started the run sees what it asks and may not answer; other tenants see nothing."""
    run = asking(submitter)
    assert run.waits is not None
    n = run.waits[0].call
    with pytest.raises(Forbidden, match="runs:approve"):
        submitter.answer(run.id, n, "approve")
    with (
        moonsand.Client(api.url, api.new_key("other", APPROVER)) as stranger,
        pytest.raises(NotFound),
    ):
        stranger.answer(run.id, n, "approve")
    with moonsand.Client(api.url, api.new_key("other", APPROVER)) as stranger:
        assert stranger.approvals() == []
        with pytest.raises(NotFound):
            stranger.approvals(run.id)

    assert [one.n for one in submitter.approvals() if one.run == run.id] == [n]
    said = approver.answer(run.id, n, "approve", comment="well")
    assert (said.decision, said.comment) == ("approve", "well")
    assert approver.answer(run.id, n, "approve", comment="well") == said
    with pytest.raises(Conflict):
        approver.answer(run.id, n, "deny")
    assert submitter.wait(run.id).result == "well"
    assert submitter.approvals(run.id) == [said]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("1", {"decision": "maybe"}, 422),
        ("1", {}, 422),
        ("1", {"decision": "approve", "by": "me"}, 422),
        ("1", {"decision": "approve", "comment": "x" * 2_001}, 422),
        ("1", {"decision": "approve", "comment": 1}, 422),
        ("1", [], 422),
        ("2", {"decision": "approve"}, 404),
        ("01", {"decision": "approve"}, 404),
        ("-1", {"decision": "approve"}, 404),
        ("a:1", {"decision": "approve"}, 404),
        ("9" * 40, {"decision": "approve"}, 404),
        ("\N{SUPERSCRIPT TWO}", {"decision": "approve"}, 404),
    ],
)
def test_what_is_no_answer_is_refused(
    api: ApiServer, submitter: moonsand.Client, path: str, body: Any, status: int
) -> None:
    """A body that is none, a number that is none: a problem in words, and the run waits on."""
    run = asking(submitter)
    headers = {"Authorization": f"Bearer {api.new_key('acme', APPROVER)}"}
    with api.client(**headers) as client:
        said = client.post(f"/v1/runs/{run.id}/approvals/{path}", json=body)

    assert (said.status_code, said.headers["content-type"]) == (status, "application/problem+json")
    assert submitter.get(run.id).status.value == "waiting"
    submitter.cancel(run.id)


@pytest.mark.parametrize(
    ("path", "given", "meant"),
    [("approvals/1", "decison", "decision"), ("plan/approve", "digst", "digest")],
)
def test_a_misspelt_name_is_told_with_the_nearest(
    api: ApiServer, path: str, given: str, meant: str
) -> None:
    """Of whatever run: the body is looked at first."""
    headers = {"Authorization": f"Bearer {api.new_key('acme', APPROVER)}"}
    with api.client(**headers) as client:
        said = client.post(f"/v1/runs/{new_id('run')}/{path}", json={given: "approve"})

    assert (f"/{given}", meant) in {
        (one["pointer"], one.get("nearest")) for one in said.json()["errors"]
    }


def test_a_run_that_waits_says_so(api: ApiServer, submitter: moonsand.Client) -> None:
    """In its record, in lists, in events; waiting for it ends with what it is waiting for."""
    run = asking(submitter)
    assert run.waits is not None
    [wait] = run.waits
    assert (wait.kind, wait.until_ms > run.created_ms) == ("approval", True)
    with api.client("acme") as client:
        page = client.get("/v1/runs", params={"state": "waiting"}).json()
        whole = client.get(f"/v1/runs/{run.id}").json()
    expected = [{"for": "approval", "until_ms": wait.until_ms, "call": 1}]
    assert [one["waits"] for one in page["data"] if one["id"] == run.id] == [expected]
    assert whole["waits"] == expected
    cancelled = submitter.cancel(run.id)
    assert (cancelled.status.value, cancelled.waits) == ("cancelled", None)
    events = list(submitter.events(run.id))
    waiting = [one for one in events if one.data.get("state") == "waiting"]
    assert [one.data["waits"] for one in waiting] == [expected]


def test_the_command_line_lists_and_answers(api: ApiServer, submitter: moonsand.Client) -> None:
    """`approvals list`, `approve` and `deny`; what a script says cannot pass for something else."""
    first, second = asking(submitter), asking(submitter)
    env = {"MOONSAND_URL": api.url, "MOONSAND_API_KEY": api.new_key("acme", APPROVER)}
    listed = command("approvals", "list", env=env)
    assert listed.returncode == 0
    rows = [line for line in listed.stdout.splitlines() if line.startswith("run_")]
    assert [row.split()[:2] for row in rows] == [[first.id, "1"], [second.id, "1"]]
    assert "\x1b" not in listed.stdout
    assert '"rows"' in listed.stdout

    approved = command("approvals", "approve", first.id, "1", "--comment", "fine", env=env)
    assert (approved.returncode, approved.stdout) == (0, f"{first.id} 1 approved\n")
    assert submitter.wait(first.id).result == "fine"
    denied = command("approvals", "deny", second.id, "1", "--json", env=env)
    assert json.loads(denied.stdout)["decision"] == "deny"
    ended = submitter.wait(second.id)
    assert (ended.status.value, str(ended.reason)) == ("failed", "denied")

    again = command("approvals", "deny", first.id, "1", env=env)
    assert again.returncode == 2
    assert "answered before: approve" in again.stderr
    empty = command("approvals", "list", env=env)
    assert (empty.stdout, empty.stderr) == ("", "nothing waits for an answer\n")
    told = command("approvals", "list", "--run", first.id, env=env)
    assert "approve by key_" in told.stdout


def test_what_is_open_has_pages(api: ApiServer) -> None:
    """Pages follow each other without gaps or repeats, also when a cursor's own row is answered."""
    asked = [(f"run_{number:026d}", number % 3, n) for number in range(7) for n in (1, 2)]
    with connect(api.redis_url) as redis:
        redis.delete(keys.asked("paged"))
        for run_id, asked_ms, n in asked:
            question = {"n": n, "title": "Go?", "asked_ms": asked_ms, "until_ms": 2_000_000_000_000}
            redis.hset(keys.approvals(run_id), str(n), json.dumps(question))
            redis.zadd(keys.asked("paged"), {f"{run_id}|{n}": asked_ms})
        expected = sorted(asked, key=lambda one: (one[1], one[0], one[2]))
        with api.client("paged") as client:
            found, cursor = [], ""
            while cursor is not None:
                query = "/v1/approvals?limit=3" + (f"&cursor={cursor}" if cursor else "")
                answer = client.get(query)
                page = answer.json()
                found += [(one["run"], one["asked_ms"], one["n"]) for one in page["data"]]
                cursor = page["next_cursor"]
                assert page["has_more"] is (cursor is not None)
                assert ("Link" in answer.headers) is page["has_more"]
                run_id, _, n = found[-1]
                redis.zrem(keys.asked("paged"), f"{run_id}|{n}")  # answered meanwhile
            assert found == expected
            wrong = client.get("/v1/approvals?cursor=nonsense")
            assert (wrong.status_code, wrong.json()["errors"][0]["parameter"]) == (422, "cursor")


def test_the_client_gives_all_pages(api: ApiServer) -> None:
    """More than one page of questions: the client gives every one."""
    with connect(api.redis_url) as redis:
        for number in range(205):
            run_id = f"run_{number:026d}"
            question = {"n": 1, "title": "Go?", "asked_ms": 7, "until_ms": 2_000_000_000_000}
            redis.hset(keys.approvals(run_id), "1", json.dumps(question))
            redis.zadd(keys.asked("busy"), {f"{run_id}|1": 7})
    with moonsand.Client(api.url, api.new_key("busy", APPROVER)) as client:
        assert len({one.run for one in client.approvals()}) == 205
