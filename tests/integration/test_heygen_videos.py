"""Videos ordered at HeyGen: the document's scenes on HeyGen's wire, ordered once, refused early."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from core.calls import Effect
from integrations.accounts import AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault, FaultKind
from integrations.stubs.heygen_data import video
from sandbox.calls import EndRun
from sandbox.outcome import Reason
from tests.heygen_requests import POST, SCENE, lines
from tests.mux_runs import mux_run as vendor_run
from tests.shipped import CATALOG

pytestmark = pytest.mark.anyio
SPOKEN = {
    "avatar_id": "avatar-abc123",
    "voice_id": "voice-xyz789",
    "script": "Welcome to our product demo!",
}
LEFT_OUT = (
    "video_inputs[1].voice_settings.stability was left out: it needs the engine_type of the voice"
)
FULL_HD = {"aspect_ratio": "16:9", "resolution": "1080p"}

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
        accounts = AccountsFile.parse(toml, CATALOG, {}).for_tenant(None)
        async with vendor_run(stubs, accounts=accounts) as run:
            error = await run.error("heygen.create_video", {"video_inputs": [SCENE], "test": True})
            await run.value("heygen.create_video", {"video_inputs": [SCENE]})
        assert "HeyGen has no test mode, and this account refuses" in error["message"]
        assert lines(stubs) == [POST]


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
