"""What the API says of quotas: in headers, in what it refuses, and when it is asked."""

from __future__ import annotations

import json

import httpx2
import redis

from core import keys
from tenancy.scopes import Scope
from tests import command
from tests.api_server import ApiServer

BODY = {"script": "return 1", "limits": {"instructions": 1_000}}


def terms(client: redis.Redis, **values: int) -> None:
    """Give the tenant acme terms."""
    for name, value in values.items():
        client.hset(keys.terms("acme"), name, str(value))


def test_without_quotas_nothing_is_told(client: httpx2.Client) -> None:
    """Who has no quota of a rate gets no headers of one."""
    headers = client.post("/v1/runs", json=BODY).headers
    assert "ratelimit" not in headers
    assert "ratelimit-policy" not in headers


def test_an_accepted_run_tells_what_is_left(client: httpx2.Client, redis_sync: redis.Redis) -> None:
    """Both headers are lists of policies by name, as structured fields write them."""
    terms(redis_sync, runs_per_minute=3, instructions_per_day=10_000)
    client.post("/v1/runs", json=BODY)
    headers = client.post("/v1/runs", json=BODY).headers
    assert headers["ratelimit-policy"] == (
        '"runs_per_minute";q=3;w=60, "instructions_per_day";q=10000;qu="instructions";w=86400'
    )
    policies = headers["ratelimit"].split(", ")
    names = [one.partition(";")[0] for one in policies]
    left = [dict(part.split("=") for part in one.split(";")[1:]) for one in policies]
    assert names == ['"runs_per_minute"', '"instructions_per_day"']
    assert [int(one["r"]) for one in left] == [1, 8_000]
    assert 1 <= int(left[0]["t"]) <= 60
    assert 1 <= int(left[1]["t"]) <= 86_400


def test_a_refusal_names_the_quota_and_when_to_come_back(
    client: httpx2.Client, redis_sync: redis.Redis
) -> None:
    """429 with Retry-After, the quota, what is used and allowed; nothing was accepted."""
    terms(redis_sync, runs_per_minute=1)
    client.post("/v1/runs", json=BODY)
    refused = client.post("/v1/runs", json=BODY)
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (429, "quota_exceeded")
    assert (problem["quota"], problem["whose"]) == ("runs_per_minute", "tenant")
    assert (problem["used"], problem["allowed"]) == (1, 1)
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["ratelimit-policy"] == '"runs_per_minute";q=1;w=60'
    assert refused.headers["ratelimit"].startswith('"runs_per_minute";r=0;t=')
    assert len(client.get("/v1/runs").json()["data"]) == 1


def test_a_key_that_is_refused_may_come_again_with_its_idempotency_key(
    client: httpx2.Client, redis_sync: redis.Redis
) -> None:
    """A refusal is no answer: when there is room the same request is accepted."""
    terms(redis_sync, runs_per_minute=1)
    client.post("/v1/runs", json=BODY)
    headers = {"Idempotency-Key": "k1"}
    assert client.post("/v1/runs", json=BODY, headers=headers).status_code == 429
    redis_sync.delete(keys.quota("acme"))
    accepted = client.post("/v1/runs", json=BODY, headers=headers)
    assert accepted.status_code == 202
    assert "idempotent-replayed" not in accepted.headers
    again = client.post("/v1/runs", json=BODY, headers=headers)
    assert (again.status_code, again.content) == (202, accepted.content)


def test_a_replayed_answer_uses_nothing_up(client: httpx2.Client, redis_sync: redis.Redis) -> None:
    """The same request again is no second run, for quotas neither."""
    terms(redis_sync, runs_per_minute=1)
    headers = {"Idempotency-Key": "k1"}
    for _ in range(3):
        assert client.post("/v1/runs", json=BODY, headers=headers).status_code == 202


def test_quotas_are_shown_to_who_asks(client: httpx2.Client, redis_sync: redis.Redis) -> None:
    """Each with what is allowed and used; those without a bound say so."""
    terms(redis_sync, runs_per_minute=9)
    client.post("/v1/runs", json=BODY)
    rows = {row["quota"]: row for row in client.get("/v1/quotas").json()["data"]}
    minute = rows["runs_per_minute"]
    assert (minute["whose"], minute["allowed"], minute["used"]) == ("tenant", 9, 1)
    assert minute["span_s"] == 60
    assert 1 <= minute["reset_s"] <= 60
    assert rows["stored_bytes"]["allowed"] is None
    assert rows["stored_bytes"]["used"] > 4_000
    assert (rows["queued_runs"]["used"], rows["queued_runs"]["span_s"]) == (1, None)


def test_the_command_shows_what_the_api_tells(
    api: ApiServer, client: httpx2.Client, redis_sync: redis.Redis
) -> None:
    """A line for each quota, in words and as JSON; an operator's key names whose."""
    terms(redis_sync, runs_per_day=9)
    client.post("/v1/runs", json=BODY)
    operator = api.new_key("operator", (Scope.TENANTS_ADMIN,))
    told = client.get("/v1/quotas").json()["data"]

    def show(*given: str) -> str:
        asked = ("quotas", "--url", api.url, "--key", operator, "--tenant", *given)
        return command.moonsand(*asked, env=command.environment()).stdout

    assert [json.loads(line) | {"reset_s": 0} for line in show("acme", "--json").splitlines()] == [
        one | {"reset_s": 0} for one in told
    ]
    head, *lines = [line.split() for line in show("acme").splitlines()]
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [(row["quota"], row["used"], row["allowed"]) for row in rows] == [
        (one["quota"], str(one["used"]), str(one["allowed"] or "-")) for one in told
    ]
    assert rows[-1]["span_s"] == "86400"
    assert not show("nobody")
    assert not show("no name")


def test_a_suspended_tenant_is_told_so(client: httpx2.Client, redis_sync: redis.Redis) -> None:
    """It is no quota: there is nothing to wait for, and no Retry-After."""
    terms(redis_sync, suspended_ms=1)
    refused = client.post("/v1/runs", json=BODY)
    assert refused.status_code == 403
    assert "suspended" in refused.json()["detail"]
    assert "retry-after" not in refused.headers
