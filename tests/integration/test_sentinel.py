"""Sentinels name the primary: everything follows it when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import Unavailable
from core.redis_client import connect
from core.redis_sentinel import parse
from core.settings import Settings
from tests.api_server import ApiServer
from tests.deadline import Deadline
from tests.faults.counting_vendor import CountingVendor, Hold
from tests.integration.run_watching import TENANT
from tests.sentinels import Sentinels
from tests.worker_processes import running_worker

PAYS = """
local till = app.integrations.till
till.pay_once({ tag = "first" })
return till.pay({ tag = "second" }).tag
"""


@pytest.mark.timeout(180)
def test_a_failover_loses_no_run_and_does_nothing_twice(tmp_path: Path) -> None:
    """The primary is killed in the middle of a run: 503 meanwhile, then all go on at the next."""
    with (
        Sentinels(tmp_path / "s") as sentinels,
        CountingVendor(tmp_path, TENANT) as vendor,
        ApiServer(sentinels.url) as api,
        api.client(TENANT) as client,
        running_worker(sentinels.url, **vendor.settings),
    ):

        def submit(script: str) -> str | None:
            answer = client.post("/v1/runs", json={"script": script})
            if answer.status_code == 202:
                return str(answer.json()["id"])
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["Retry-After"]) >= 1
            return None

        def ended(run_id: str) -> Any:
            body = client.get(f"/v1/runs/{run_id}").json()
            return body if body.get("reason") else None

        vendor.arm(Hold.AFTER)
        running, queued = submit(PAYS), submit("return 1")
        Deadline().until(vendor.struck.is_set, "the first request")
        sentinels.replicate()
        sentinels.patience(3_600_000)  # nobody takes over before the 503 was seen
        sentinels.kill_primary()
        assert submit("return 1") is None
        sentinels.patience(1_000)
        vendor.release(answer=True)
        later = Deadline().until(lambda: submit("return 2"), "the next primary", seconds=60)

        results = []
        for run_id in (running, queued, later):
            assert run_id is not None
            end = Deadline().until(lambda one=run_id: ended(one), "its end", seconds=60)  # type: ignore[misc]
            results.append((end["reason"], end["result"]))

    assert results == [("ok", "second"), ("ok", 1), ("ok", 2)]
    assert (vendor.done["first"], vendor.done["second"]) == (1, 1)


@pytest.mark.parametrize(
    ("url", "sentinels", "service", "options"),
    [
        ("redis+sentinel://a,b:1/x", [("a", 26379), ("b", 1)], "x", {"db": 0}),
        (
            "rediss+sentinel://u:p%40@[::1]:7/x/3",
            [("::1", 7)],
            "x",
            {"db": 3, "ssl": True, "username": "u", "password": "p@"},
        ),
    ],
)
def test_a_url_says_where_and_how(
    url: str, sentinels: list[tuple[str, int]], service: str, options: dict[str, object]
) -> None:
    """Hosts with and without a port, the service, the database, the account of Redis."""
    place = parse(url)
    assert (place.sentinels, place.service, place.options) == (sentinels, service, options)
    assert "p@" not in repr(place)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel:///x",
        "redis+sentinel://a:port/x",
        "redis+sentinel://a/x/y",
        "redis+sentinel://a/x/1/2",
        "redis+sentinel://a,/x",
        "redis+sentinel://a/x?secret=1",
    ],
)
def test_a_url_that_is_malformed_is_refused_without_telling_it(url: str) -> None:
    """It is one line with the form that is right; nothing of a password."""
    with pytest.raises(Unavailable, match="malformed") as refused:
        connect(url.replace("://", "://:hush@", 1))
    assert "hush" not in f"{refused.value} {refused.value.hint}"


def test_settings_know_the_schemes() -> None:
    """Others are refused before anything starts."""
    assert Settings(redis_url="redis+sentinel://a/x").redis_url
    with pytest.raises(ValidationError):
        Settings(redis_url="sentinel://a/x")
