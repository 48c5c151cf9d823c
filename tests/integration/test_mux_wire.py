"""Every function of Mux over real sockets: what goes out, what comes back, what is kept."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import orjson
import pytest

from core.calls import Effect, EffectClass
from integrations.accounts import Accounts, AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Seen
from sandbox.calls import Reply
from sandbox.limits import Limits
from tenancy.grants import Grants
from tests.mux_runs import mux_run
from tests.shipped import CATALOG

pytestmark = pytest.mark.anyio


def only_request(stubs: Stubs) -> Seen:
    """Give the one request that reached the stub."""
    (seen,) = stubs.mux_faults.seen
    return seen


LIVE = "abc123xyz"
VIEWERS = (
    "GET /data/v1/monitoring/metrics/current-concurrent-viewers/breakdown"
    "?dimension=video_title&order_by=value&order_direction=desc"
)
FUNCTIONS: list[tuple[str, dict[str, Any], str, Any]] = [
    ("list_assets", {"limit": 10, "page": 0}, "GET /video/v1/assets?limit=10&page=1", None),
    ("list_assets", {"limit": 1, "page": 1}, "GET /video/v1/assets?limit=1&page=2", None),
    ("mux_list_assets", {}, "GET /video/v1/assets?limit=25&page=1", None),
    ("get_asset", {"asset_id": "abc123xyz"}, "GET /video/v1/assets/abc123xyz", None),
    (
        "create_asset",
        {"input": "https://storage.example.com/video.mp4", "playback_policy": ["public"]},
        "POST /video/v1/assets",
        {
            "inputs": [{"url": "https://storage.example.com/video.mp4"}],
            "playback_policies": ["public"],
        },
    ),
    ("list_live_streams", {"limit": 10}, "GET /video/v1/live-streams?limit=10&page=1", None),
    ("get_live_stream", {"live_stream_id": LIVE}, f"GET /video/v1/live-streams/{LIVE}", None),
    (
        "create_live_stream",
        {
            "playback_policy": ["public"],
            "new_asset_settings": {"playback_policy": ["public"], "mp4_support": "standard"},
        },
        "POST /video/v1/live-streams",
        {
            "playback_policies": ["public"],
            "new_asset_settings": {"playback_policies": ["public"], "mp4_support": "standard"},
        },
    ),
    *(
        (name, {}, VIEWERS, None)
        for name in ("get_realtime_data", "get_current_user", "mux_get_current_user")
    ),
]


@pytest.mark.parametrize(("name", "given", "line", "body"), FUNCTIONS)
async def test_one_call_is_one_exact_request(
    stubs: Stubs, name: str, given: dict[str, Any], line: str, body: Any
) -> None:
    """Method, path, query, body and credentials are Mux's, and the answer is Mux's body."""
    async with mux_run(stubs) as run:
        value = await run.value(f"mux.{name}", given)
    seen = only_request(stubs)
    assert f"{seen.method} {seen.target}" == line
    assert (orjson.loads(seen.body) if seen.body else None) == body
    pair = base64.b64encode(b"stub-mux-default-id:stub-mux-default-secret").decode()
    assert seen.headers["authorization"] == f"Basic {pair}"
    assert seen.headers.get("content-type") == ("application/json" if body else None)
    assert "cookie" not in seen.headers
    assert value["data"]
    assert run.last.effect is Effect.SUCCEEDED
    assert run.last.effect_class is (EffectClass.WRITE if body else EffectClass.READ)


async def test_rows_of_viewers_are_never_nil(stubs: Stubs) -> None:
    """`view_id` and `viewer_count` are there for every row, beside Mux's own keys."""
    async with mux_run(stubs) as run:
        rows = (await run.value("mux.get_current_user", {}))["data"]
    assert [(row["view_id"], row["viewer_count"]) for row in rows] == [
        ("Launch film", 42),
        ("unknown", 3),
    ]
    assert rows[0]["concurrent_viewers"] == 42


async def test_accounts_differ_only_in_credentials(stubs: Stubs) -> None:
    """A named account reaches its own environment; no name is the account `default`."""
    async with mux_run(stubs) as run:
        first = [
            (await run.value("mux.list_assets", {"limit": 1}, account=name))["data"][0]["id"]
            for name in (None, "default", "production", "staging")
        ]
        accounts = [record.account for record in run.broker.calls]
    assert first == ["default-intro", "default-intro", "production-intro", "staging-intro"]
    assert accounts == ["default", "default", "production", "staging"]


async def test_what_was_created_is_listed(stubs: Stubs) -> None:
    """The stub keeps state, with ids that are counted."""
    async with mux_run(stubs) as run:
        made = await run.value("mux.create_asset", "https://example.com/v.mp4")
        listed = await run.value("mux.list_assets", {"limit": 1})
    assert made["data"]["id"] == listed["data"][0]["id"] == "default-asset-0001"


async def test_the_tape_has_intent_before_effect(stubs: Stubs) -> None:
    """Intent, then effect, with all that replay needs."""
    async with mux_run(stubs) as run:
        reply = await run.answer("mux.get_asset", {"asset_id": "abc123xyz"}, account="staging")
    assert isinstance(reply, Reply)
    intent, effect = (entry.body for entry in run.tape.entries)
    assert run.kinds == ["intent", "effect"]
    assert intent == {
        "seq": 1,
        "asked": ("mux", "staging", "get_asset"),
        "name": "mux.get_asset",
        "account": "staging",
        "effect_class": "read",
        "arguments_sha256": hashlib.sha256(b'[{"asset_id":"abc123xyz"}]').hexdigest(),
        "preview": '{"asset_id":"abc123xyz"}',
    }
    assert effect == {
        "seq": 1,
        "effect": "succeeded",
        "duration_ms": run.last.duration_ms,
        "status": 200,
        "ok": True,
        "reply": reply.body.decode(),
        "clock_ms": reply.clock_ms,
    }


async def test_errors_of_mux_read_well(stubs: Stubs) -> None:
    """Mux's type and messages, its status, and nothing retriable about a 404."""
    async with mux_run(stubs) as run:
        error = await run.error("mux.get_asset", {"asset_id": "nope"}, account="production")
    assert error == {
        "integration": "mux",
        "account": "production",
        "function": "get_asset",
        "status": 404,
        "code": "not_found",
        "message": "mux.get_asset: 404 not_found: The requested resource either doesn't exist"
        " or you don't have access to it.",
        "retry_after": None,
        "request_id": None,
        "retriable": False,
    }
    assert run.last.effect is Effect.FAILED


async def test_wrong_credentials_are_explained(stubs: Stubs) -> None:
    """A 401 says which fields of the account to look at, and shows none of them."""
    toml = stubs.accounts_toml.replace("stub-mux-default-secret", "wrong-secret-canary")
    accounts = AccountsFile.parse(toml, CATALOG, {}).for_tenant(None)
    async with mux_run(stubs, accounts=accounts) as run:
        error = await run.error("mux.list_assets", {})
    assert error["message"] == (
        "mux.list_assets: 401 unauthorized: Unauthorized request"
        " (check token_id and token_secret of this account)"
    )


async def test_bad_input_of_mux_is_passed_on(stubs: Stubs) -> None:
    """What only Mux can judge is judged by Mux."""
    async with mux_run(stubs) as run:
        error = await run.error("mux.create_live_stream", {"new_asset_settings": {"nonsense": 1}})
    assert (error["status"], error["code"]) == (400, "invalid_parameters")


REFUSED: list[tuple[str, list[Any], str | None, str, str]] = [
    ("mux.list_asset", [{}], None, "unknown_function", "Unknown function: mux.list_asset."),
    ("muxx.list_assets", [{}], None, "unknown_integration", "Unknown integration: muxx."),
    ("mux.list_assets", [{"limit": 0}], None, "invalid_arguments", "limit must be at least 1"),
    ("mux.get_asset", [{"asset_id": "a/b"}], None, "invalid_arguments", "asset_id must be an ID"),
    ("mux.get_asset", ["x"], "prod", "unknown_account", "mux has no account `prod`"),
    ("mux.get_asset", ["x"], "__index", "unknown_account", "mux has no account `__index`"),
]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused[3])
async def test_refusals_send_nothing_and_are_recorded(
    stubs: Stubs, refused: tuple[str, list[Any], str | None, str, str]
) -> None:
    """No request, no intent; one effect entry that says what was asked."""
    name, given, account, code, words = refused
    async with mux_run(stubs) as run:
        error = await run.error(name, *given, account=account)
    assert error["code"] == code
    assert words in error["message"]
    assert "no external call was made" in error["message"].lower()
    assert run.kinds == ["effect"]
    assert run.tape.entries[0].body["name"] == name
    assert run.last.effect is Effect.FAILED
    assert not stubs.mux_faults.seen


class TestGrants:
    async def test_what_is_not_granted_is_denied(self, stubs: Stubs) -> None:
        """A child that calls it all the same learns which grant it needs."""
        async with mux_run(stubs, grants=Grants.parse(["mux:read"])) as run:
            error = await run.error("mux.create_asset", "https://example.com/v.mp4")
            await run.value("mux.list_assets")
        assert error["code"] == "denied"
        assert error["message"] == (
            "mux.create_asset is not granted to this run; it needs the grant mux:write or"
            " mux.create_asset; no external call was made"
        )
        assert [record.effect for record in run.broker.calls] == [Effect.DENIED, Effect.SUCCEEDED]
        assert [seen.method for seen in stubs.mux_faults.seen] == ["GET"]

    async def test_an_alias_is_no_way_around(self, stubs: Stubs) -> None:
        """Grants speak of a function, by whichever name it is called."""
        async with mux_run(stubs, grants=Grants.parse(["mux.get_asset"])) as run:
            assert (await run.error("mux.mux_list_assets"))["code"] == "denied"
            await run.value("mux.mux_get_asset", "abc123xyz")

    async def test_the_surface_has_only_what_is_granted(self, stubs: Stubs) -> None:
        """Every name of granted functions, the accounts, and the documentation always."""
        async with mux_run(stubs, grants=Grants.parse(["mux.get_realtime_data"])) as run:
            surface = run.broker.surface()
        assert set(surface) == {"docs", "mux"}
        assert list(surface["mux"].functions) == [
            *("get_realtime_data", "get_current_user", "mux_get_current_user"),
            "mux_get_realtime_data",
        ]
        assert list(surface["mux"].accounts) == ["default", "production", "staging", "work"]
        async with mux_run(stubs, grants=Grants.parse([])) as run:
            assert set(run.broker.surface()) == {"docs"}

    async def test_without_accounts_nothing_is_sent(self, stubs: Stubs) -> None:
        """The error says what is missing."""
        async with mux_run(stubs, accounts=Accounts()) as run:
            error = await run.error("mux.list_assets")
        assert error["message"] == (
            "mux.list_assets: mux has no account `default`; none is configured;"
            " no external call was made"
        )


class TestLocalFunctions:
    async def test_the_documentation_is_on_the_tape(self, stubs: Stubs) -> None:
        """Reading a page is a call like any other: class read, no account."""
        async with mux_run(stubs, grants=Grants.parse([])) as run:
            assert (await run.value("docs.read", "mux")).startswith("# Mux")
            assert (await run.value("docs.search", {"query": "live stream", "limit": 1}))[0]["name"]
            assert (await run.value("docs.list"))[0]["name"] == "index"
            error = await run.error("docs.read", "mux.list_asset")
        assert error["code"] == "unknown_page"
        assert run.kinds == ["intent", "effect"] * 4
        assert {(one.effect_class, one.account) for one in run.broker.calls} == {
            (EffectClass.READ, None)
        }

    async def test_the_demonstration_echoes_and_fails(self, stubs: Stubs) -> None:
        """`demo.echo` gives its argument back as it came, `demo.fail` always fails."""
        given = {"a": [1, 2.5, "x", True, None, {"b": []}], "c": {}}
        async with mux_run(stubs) as run:
            assert await run.value("demo.echo", given) == given
            assert await run.value("demo.echo") is None
            assert await run.value("demo.echo", []) == []
            assert (await run.error("demo.fail", {}))["code"] == "demo_failed"

    async def test_limits_of_a_reply_hold_here_too(self, stubs: Stubs) -> None:
        """A reply over the run's limit is an error, wherever it comes from."""
        async with mux_run(stubs, limits=Limits(reply_bytes=1024)) as run:
            assert (await run.error("docs.read", "mux"))["code"] == "reply_too_large"
