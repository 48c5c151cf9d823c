"""Every function of HeyGen over real sockets: what goes out, what comes back, what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from core.calls import Effect, EffectClass
from integrations.accounts import AccountsFile
from integrations.catalog import Catalog
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault, FaultKind
from integrations.stubs.heygen_data import look, template, video, voice
from sandbox.calls import EndRun
from sandbox.outcome import Reason
from tests.mux_runs import mux_run as vendor_run

pytestmark = pytest.mark.anyio
POST = "POST /v3/videos"
SCENE = {
    "character": {"avatar_id": "avatar-abc123", "voice_id": "voice-xyz789"},
    "script": "Welcome to our product demo!",
}
SPOKEN = {
    "avatar_id": "avatar-abc123",
    "voice_id": "voice-xyz789",
    "script": "Welcome to our product demo!",
}
LEFT_OUT = (
    "video_inputs[1].voice_settings.stability was left out: it needs the engine_type of the voice"
)
FULL_HD = {"aspect_ratio": "16:9", "resolution": "1080p"}


def lines(stubs: Stubs) -> list[str]:
    """Give the requests that reached the stub."""
    return [f"{seen.method} {seen.target}" for seen in stubs["heygen"].faults.seen]


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


BODIES: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"video_inputs": [SCENE]}, {"type": "avatar", **SPOKEN, **FULL_HD}, []),
    (
        {"video_inputs": [SCENE], "test": True, "dimension": {"width": 1920, "height": 1080}},
        {"type": "avatar", **SPOKEN, **FULL_HD},
        ["HeyGen has no test mode: this is a real video, and it costs credits"],
    ),
    (
        {"video_inputs": [SCENE], "dimension": [1080, 1920]},
        {"type": "avatar", **SPOKEN, "aspect_ratio": "9:16", "resolution": "1080p"},
        [],
    ),
    (
        {"video_inputs": [SCENE], "dimension": {"width": 1000, "height": 700}},
        {"type": "avatar", **SPOKEN, "aspect_ratio": "5:4", "resolution": "720p"},
        ["HeyGen has no 1000x700: the video is 5:4 in 720p"],
    ),
    (
        {"video_inputs": [SCENE], "dimension": {"width": 3840, "height": 2160}},
        {"type": "avatar", **SPOKEN, "aspect_ratio": "16:9", "resolution": "4k"},
        [],
    ),
    (
        {"video_inputs": [{**SCENE, "voice_settings": {"speed": 1.0, "stability": 0.5}}]},
        {"type": "avatar", **SPOKEN, "voice_settings": {"speed": 1.0}, **FULL_HD},
        [LEFT_OUT],
    ),
    (
        {"video_inputs": [
            {**SCENE, "voice_settings": {"stability": 0.5, "engine_type": "elevenlabs"}}
        ]},
        {
            "type": "avatar",
            **SPOKEN,
            "voice_settings": {
                "engine_settings": {"engine_type": "elevenlabs", "stability": 0.5}
            },
            **FULL_HD,
        },
        [],
    ),
    (
        {"video_inputs": [{**SCENE, "background": {"type": "color", "value": "#112233"}}]},
        {
            "type": "avatar",
            **SPOKEN,
            "background": {"type": "color", "value": "#112233"},
            **FULL_HD,
        },
        [],
    ),
    (
        {"video_inputs": [{
            "character": {"type": "talking_photo", "talking_photo_id": "default-twin"},
            "voice": {"type": "text", "input_text": "Hi", "voice_id": "voice-id-here", "speed": 1},
        }]},
        {
            "type": "avatar", "avatar_id": "default-twin", "voice_id": "voice-id-here",
            "script": "Hi", "voice_settings": {"speed": 1}, **FULL_HD,
        },
        [],
    ),
    (
        {
            "video_inputs": [SCENE, {**SCENE, "background": {"type": "color", "value": "#112233"}}],
            "title": "Two", "engine": "avatar_iv", "callback_id": "c1",
            "aspect_ratio": "1:1",
        },
        {
            "type": "studio",
            "scenes": [
                {
                    "type": "avatar_video",
                    "input": {"type": "avatar", **SPOKEN, "engine": {"type": "avatar_iv"}},
                },
                {
                    "type": "avatar_video",
                    "input": {
                        "type": "avatar", **SPOKEN, "engine": {"type": "avatar_iv"},
                        "background": {"type": "color", "color": "#112233"},
                    },
                },
            ],
            "title": "Two", "callback_id": "c1", "aspect_ratio": "1:1", "resolution": "1080p",
        },
        [],
    ),
    (
        {
            "video_inputs": [SCENE], "resolution": "720p", "output_format": "webm", "fit": "cover",
            "caption": {"file_format": "srt"}, "motion_prompt": "waves",
        },
        {
            "type": "avatar", **SPOKEN, "aspect_ratio": "16:9", "resolution": "720p",
            "output_format": "webm", "fit": "cover", "caption": {"file_format": "srt"},
            "motion_prompt": "waves",
        },
        [],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("given", "body", "warnings"), BODIES)
async def test_scenes_become_heygens_body(
    stubs: Stubs, given: dict[str, Any], body: dict[str, Any], warnings: list[str]
) -> None:
    """The document's scenes, and those of version 2, go out as version 3 takes them."""
    async with vendor_run(stubs) as run:
        value = await run.value("heygen.create_video", given)
    (seen,) = stubs["heygen"].faults.seen
    assert orjson.loads(seen.body) == body
    assert value.get("warnings", []) == warnings
    assert value["data"]["video_id"] == "default-video-0001"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("create_video", {}, "video_inputs is missing"),
    ("create_video", {"video_inputs": []}, "video_inputs must have 1 entries or more"),
    ("create_video", {"video_inputs": [{"script": "x"}]}, "video_inputs[1].character is missing"),
    ("create_video", {"video_inputs": [{"character": {}, "script": "x"}]}, "one of avatar_id"),
    ("create_video", {"video_inputs": [{"character": SCENE["character"]}]}, "one of script"),
    (
        "create_video",
        {"video_inputs": [{**SCENE, "voice": {"input_text": "y"}}]},
        "script or voice.input_text, not both",
    ),
    ("create_video", {"video_inputs": [{**SCENE, "scrpt": "x"}]}, "must not have scrpt"),
    (
        "create_video",
        {"video_inputs": [{**SCENE, "voice_settings": {"speed": 3}}]},
        "voice_settings.speed must be at most 1.5",
    ),
    (
        "create_video",
        {"video_inputs": [{**SCENE, "script": "x" * 5001}]},
        "script must have 5000 characters or fewer",
    ),
    (
        "create_video",
        {"video_inputs": [SCENE, {**SCENE, "background": {"type": "image", "asset_id": "a"}}]},
        "video_inputs[2].background can be an image with one scene only",
    ),
    ("create_video", {"video_inputs": [SCENE] * 2, "fit": "cover"}, "with one scene only"),
    (
        "create_video",
        {"video_inputs": [SCENE], "dimension": [1, 2], "resolution": "720p"},
        "dimension",
    ),
    (
        "create_video",
        {"video_inputs": [SCENE], "dimension": [1280, 720], "resolution": "720p"},
        "not both",
    ),
    ("get_video", {}, "video_id is missing"),
    ("get_video", {"video_id": "../users/me"}, "video_id must be an ID"),
    ("list_videos", {"limit": 101}, "limit must be at most 100"),
    ("list_videos", {"offset": -1}, "offset must be at least 0"),
    ("list_videos", {"ofset": 1}, "did you mean: offset"),
    ("list_videos", {"limit": 100, "offset": 901}, "offset too large"),
    ("list_videos", {"offset": 1, "token": "t"}, "give `offset` or `token`, not both"),
    ("list_voices", {"token": "elsewhere:x"}, "token must be the `next_token`"),
    ("list_avatars", {"limit": 501}, "limit must be at most 500"),
    ("get_current_user", {"x": 1}, "unknown parameter x"),
]


@pytest.mark.parametrize(("name", "given", "words"), REFUSED)
async def test_bad_arguments_send_nothing(
    stubs: Stubs, name: str, given: dict[str, Any], words: str
) -> None:
    """What does not fit is refused in words, before any request."""
    async with vendor_run(stubs) as run:
        error = await run.error(f"heygen.{name}", given)
    assert error["code"] == "invalid_arguments"
    assert words in error["message"]
    assert "no external call was made" in error["message"]
    assert run.last.effect is Effect.FAILED
    assert lines(stubs) == []


class TestTestVideos:
    async def test_an_account_can_refuse_them(self, stubs: Stubs) -> None:
        """With `test_videos = "refuse"` no credits go for what was meant as a test."""
        toml = stubs.accounts_toml.replace(
            "[heygen.default]", '[heygen.default]\ntest_videos = "refuse"'
        )
        accounts = AccountsFile.parse(toml, Catalog.load(), {}).for_tenant(None)
        async with vendor_run(stubs, accounts=accounts) as run:
            error = await run.error("heygen.create_video", {"video_inputs": [SCENE], "test": True})
            await run.value("heygen.create_video", {"video_inputs": [SCENE]})
        assert "HeyGen has no test mode, and this account refuses" in error["message"]
        assert lines(stubs) == [POST]


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
    accounts = AccountsFile.parse(toml, Catalog.load(), {}).for_tenant(None)
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
        error = await run.error("heygen.create_video", {"video_inputs": [SCENE]})
        await run.value("heygen.get_current_user", {})
    assert (error["code"], error["retry_after"]) == ("rate_limit_exceeded", 1.0)
    assert error["retriable"] is True
    assert stubs["heygen"].faults.counts[POST] == 2


class TestFaults:
    @pytest.mark.parametrize("kind", ["drop", "refuse"])
    async def test_a_video_may_have_been_ordered(self, stubs: Stubs, kind: FaultKind) -> None:
        """Done or not looks the same from here: unknown, sent once, and the run ends."""
        stubs["heygen"].faults.add(Fault(kind, POST, times=9))
        async with vendor_run(stubs) as run:
            end = await run.answer("heygen.create_video", {"video_inputs": [SCENE]})
        assert isinstance(end, EndRun)
        assert end.reason is Reason.EFFECT_UNKNOWN
        assert stubs.heygen.workspaces["default"].created == (1 if kind == "drop" else 0)
        assert stubs["heygen"].faults.counts == {POST: 1}
        assert run.last.effect is Effect.UNKNOWN

    @pytest.mark.parametrize(
        ("status", "effect"),
        [(400, Effect.FAILED), (500, Effect.FAILED), (503, Effect.FAILED), (504, Effect.UNKNOWN)],
    )
    async def test_a_status_says_what_became_of_it(
        self, stubs: Stubs, status: int, effect: Effect
    ) -> None:
        """Refused is failed, a gateway that gave up is unknown; neither is sent again."""
        stubs["heygen"].faults.add(Fault("answer", POST, status=status, times=9))
        async with vendor_run(stubs) as run:
            await run.answer("heygen.create_video", {"video_inputs": [SCENE]})
        assert run.last.effect is effect
        assert stubs["heygen"].faults.counts == {POST: 1}

    @pytest.mark.parametrize("status", [200, 201, 202])
    async def test_any_success_has_made_a_video(self, stubs: Stubs, status: int) -> None:
        """HeyGen may say created or accepted as well; none of them is a failure."""
        body = b'{"data":{"video_id":"v1","status":"pending"}}'
        stubs["heygen"].faults.add(Fault("answer", POST, status=status, body=body))
        async with vendor_run(stubs) as run:
            value = await run.value("heygen.create_video", {"video_inputs": [SCENE]})
        assert value["data"]["video_id"] == "v1"

    async def test_a_video_without_an_id_was_made_all_the_same(self, stubs: Stubs) -> None:
        """The script gets an error that says so, not a nil to trip over."""
        stubs["heygen"].faults.add(Fault("answer", POST, status=200, body=b'{"data":{}}'))
        async with vendor_run(stubs) as run:
            error = await run.error("heygen.create_video", {"video_inputs": [SCENE]})
        assert error["message"] == (
            "heygen.create_video: the reply names no video; the call itself succeeded"
        )
        assert run.last.effect is Effect.SUCCEEDED

    async def test_a_lost_page_is_read_again(self, stubs: Stubs) -> None:
        """Reading twice does no harm, in the middle of a walk too."""
        home = stubs.heygen.workspaces["default"]
        home.videos = [video(f"v{number}", "completed", 0) for number in range(150)]
        async with vendor_run(stubs) as run:
            stubs["heygen"].faults.add(Fault("drop", "GET /v3/videos"))
            value = await run.value("heygen.list_videos", {"limit": 50, "offset": 100})
        assert len(value["data"]["videos"]) == 50
        assert len(lines(stubs)) == 3
