"""Every function of HeyGen over real sockets: what goes out, what comes back, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from core.calls import Effect, EffectClass
from integrations.accounts import AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from integrations.stubs.heygen_data import look, template, video, voice
from tests.heygen_requests import POST, SCENE, lines
from tests.mux_runs import mux_run as vendor_run
from tests.shipped import CATALOG

pytestmark = pytest.mark.anyio

FUNCTIONS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("list_videos", {"limit": 10, "offset": 0}, ["GET /v3/videos?limit=10"]),
    ("list_videos", {"limit": 1, "offset": 1}, ["GET /v3/videos?limit=2"]),
    (
        "heygen_list_videos",
        {"title": "ab c", "folder_id": "f"},
        ["GET /v3/videos?folder_id=f&title=ab%20c&limit=10"],
    ),
    ("get_video", {"video_id": "abc123"}, ["GET /v3/videos/abc123"]),
    ("heygen_get_video", {"video_id": "abc123"}, ["GET /v3/videos/abc123"]),
    ("create_video", {"video_inputs": [SCENE]}, [POST]),
    ("heygen_create_video", {"video_inputs": [SCENE]}, [POST]),
    ("list_avatars", {}, ["GET /v3/avatars/looks?limit=50"]),
    (
        "heygen_list_avatars",
        {"limit": 3, "avatar_type": "digital_twin"},
        ["GET /v3/avatars/looks?avatar_type=digital_twin&limit=3"],
    ),
    (
        "list_voices",
        {},
        ["GET /v3/voices?type=private&limit=100", "GET /v3/voices?type=public&limit=100"],
    ),
    (
        "heygen_list_voices",
        {"type": "public", "language": "German"},
        ["GET /v3/voices?type=public&language=German&limit=100"],
    ),
    ("get_current_user", {}, ["GET /v3/users/me"]),
    ("heygen_get_current_user", {}, ["GET /v3/users/me"]),
    ("list_templates", {"limit": 20, "offset": 0}, ["GET /v3/templates?limit=20"]),
    ("heygen_list_templates", {}, ["GET /v3/templates?limit=10"]),
]


@pytest.mark.parametrize(("name", "given", "expected"), FUNCTIONS)
async def test_one_call_is_these_exact_requests(
    stubs: Stubs, name: str, given: dict[str, Any], expected: list[str]
) -> None:
    """Methods, paths, queries and the key are HeyGen's, under every documented name."""
    async with vendor_run(stubs) as run:
        value = await run.value(f"heygen.{name}", given)
    assert lines(stubs) == expected
    for seen in stubs["heygen"].faults.seen:
        assert seen.headers["x-api-key"] == "stub-heygen-default-key"
        assert "authorization" not in seen.headers
    assert value["data"]
    assert run.last.effect is Effect.SUCCEEDED
    writes = name.endswith("create_video")
    assert run.last.effect_class is (EffectClass.WRITE if writes else EffectClass.READ)


async def test_accounts_differ_only_in_credentials(stubs: Stubs) -> None:
    """A named account reaches its own workspace; no name is the account `default`."""
    async with vendor_run(stubs) as run:
        names = [
            (await run.value("heygen.get_current_user", {}, account=account))["data"]["username"]
            for account in (None, "default", "work", "personal")
        ]
    assert names == ["default-user", "default-user", "work-user", "personal-user"]


class TestLists:
    async def test_offset_is_walked_exactly(self, stubs: Stubs) -> None:
        """Every window of the list is the right one, however deep, and the token goes on after."""
        home = stubs.heygen.workspaces["default"]
        home.videos = [video(f"v{number}", "completed", 0) for number in range(250)]
        async with vendor_run(stubs) as run:
            value = await run.value("heygen.list_videos", {"limit": 20, "offset": 195})
            token = value["next_token"]
            after = await run.value("heygen.list_videos", {"limit": 20, "token": token})
            beyond = await run.value("heygen.list_videos", {"limit": 20, "offset": 900})
        ids = [one["video_id"] for one in value["data"]["videos"]]
        assert ids == [f"v{number}" for number in range(195, 215)]
        assert value["has_more"] is value["data"]["has_more"] is True
        assert after["data"]["videos"][0]["video_id"] == "v215"
        assert beyond["data"]["videos"] == []
        assert beyond["has_more"] is False
        assert [line.partition("&token")[0] for line in lines(stubs)[:3]] == [
            "GET /v3/videos?limit=100",
            "GET /v3/videos?limit=100",
            "GET /v3/videos?limit=15",
        ]

    async def test_all_avatars_come_up_to_the_cap(self, stubs: Stubs) -> None:
        """No parameters: 500 of them in ten requests, and how to go on."""
        home = stubs.heygen.workspaces["default"]
        home.looks = [look(f"a{number}", f"A {number}") for number in range(510)]
        async with vendor_run(stubs) as run:
            first = await run.value("heygen.list_avatars", {})
            rest = await run.value("heygen.list_avatars", {"token": first["next_token"]})
        assert len(first["data"]["avatars"]) == 500
        assert [one["avatar_id"] for one in rest["data"]["avatars"]] == [
            f"a{number}" for number in range(500, 510)
        ]
        assert rest.get("next_token") is None
        assert len(lines(stubs)) == 11

    async def test_voices_go_on_across_both_lists(self, stubs: Stubs) -> None:
        """Own voices, then HeyGen's: pages of any size give each exactly once."""
        home = stubs.heygen.workspaces["default"]
        home.voices = [voice(f"p{n}", f"P {n}", "English", "private") for n in range(4)]
        home.voices += [voice(f"h{n}", f"H {n}", "English") for n in range(5)]
        for limit in (1, 2, 3, 4, 5, 9):
            found: list[str] = []
            async with vendor_run(stubs) as run:
                value = await run.value("heygen.list_voices", {"limit": limit})
                found += [one["voice_id"] for one in value["data"]["voices"]]
                while value["next_token"]:
                    given = {"limit": limit, "token": value["next_token"]}
                    value = await run.value("heygen.list_voices", given)
                    found += [one["voice_id"] for one in value["data"]["voices"]]
            assert found == ["p0", "p1", "p2", "p3", "h0", "h1", "h2", "h3", "h4"]

    async def test_templates_have_an_offset_too(self, stubs: Stubs) -> None:
        """The same walk as for videos."""
        home = stubs.heygen.workspaces["default"]
        home.templates = [template(f"t{number}", f"T {number}") for number in range(30)]
        async with vendor_run(stubs) as run:
            value = await run.value("heygen.list_templates", {"limit": 5, "offset": 25})
        assert [one["template_id"] for one in value["data"]["templates"]] == [
            f"t{number}" for number in range(25, 30)
        ]


async def test_plan_and_credits_are_never_nil(stubs: Stubs) -> None:
    """However an account is billed, the two lines of the document's example can be written."""
    async with vendor_run(stubs) as run:
        told = []
        for account in ("default", "work", "personal"):
            data = (await run.value("heygen.get_current_user", {}, account=account))["data"]
            told.append((data["plan"], data["remaining_quota"]))
        stubs.heygen.workspaces["default"].user = {"username": "x", "billing_type": None}
        data = (await run.value("heygen.get_current_user", {}))["data"]
        told.append((data["plan"], data["remaining_quota"]))
    assert told == [("creator", 150), ("wallet", 41.5), ("usage_based", 7), ("unknown", 0)]


ERRORS: list[tuple[str, dict[str, Any], int, str]] = [
    ("get_video", {"video_id": "nope"}, 404, "video_not_found"),
    ("list_templates", {"token": "nonsense"}, 400, "invalid_parameter"),
    (
        "create_video",
        {"video_inputs": [{"character": {"avatar_id": "nope"}, "script": "x"}]},
        404,
        "not_found",
    ),
]


@pytest.mark.parametrize(("name", "given", "status", "code"), ERRORS)
async def test_errors_of_heygen_read_well(
    stubs: Stubs, name: str, given: dict[str, Any], status: int, code: str
) -> None:
    """HeyGen's code, message and request id arrive as they are."""
    async with vendor_run(stubs) as run:
        error = await run.error(f"heygen.{name}", given, account="work")
    assert (error["status"], error["code"], error["account"]) == (status, code, "work")
    assert error["message"].startswith(f"heygen.{name}: {status} {code}: ")
    assert error["request_id"] == "heygen-0001"
    assert error["retriable"] is False
    assert run.last.effect is Effect.FAILED


async def test_no_credit_and_no_key_are_explained(stubs: Stubs) -> None:
    """The hints say where to look."""
    stubs.heygen.credit = False
    toml = stubs.accounts_toml.replace("stub-heygen-work-key", "wrong-key-canary")
    accounts = AccountsFile.parse(toml, CATALOG, {}).for_tenant(None)
    async with vendor_run(stubs, accounts=accounts) as run:
        poor = await run.error("heygen.create_video", {"video_inputs": [SCENE]})
        wrong = await run.error("heygen.list_videos", {}, account="work")
    assert (poor["code"], poor["status"]) == ("insufficient_credit", 402)
    assert "(the workspace has too few credits for this)" in poor["message"]
    assert wrong["message"].endswith("Unauthorized (check api_key of this account)")
    assert "canary" not in repr(wrong)


async def test_the_rate_limit_of_the_stub(stubs: Stubs) -> None:
    """A write is told to wait; a read waits by itself."""
    stubs.heygen.requests_per_s = 1
    async with vendor_run(stubs) as run:
        await run.value("heygen.create_video", {"video_inputs": [SCENE]})
        stubs.heygen.requests_per_s = 0  # used up, however long this machine takes
        error = await run.error("heygen.create_video", {"video_inputs": [SCENE]})
        stubs.heygen.requests_per_s = None
        stubs["heygen"].faults.add(
            Fault("answer", "GET /v3/users/me", status=429, headers={"retry-after": "1"})
        )
        await run.value("heygen.get_current_user", {})
    assert stubs["heygen"].faults.counts["GET /v3/users/me"] == 2
    assert (error["code"], error["retry_after"]) == ("rate_limit_exceeded", 1.0)
    assert error["retriable"] is True
    assert stubs["heygen"].faults.counts[POST] == 2
