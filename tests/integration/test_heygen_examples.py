"""Every Lua example of HeyGen's document runs in the real jail, against HeyGen's wire."""

from __future__ import annotations

import pytest

from integrations.stubs import Stubs
from tests.example_runs import check_documentation, check_example, names_of

pytestmark = pytest.mark.jail

#: What each prints, whole, or how it begins when it ends in `...`.
PRINTED = {
    "list_videos": "default-intro: processing\nabc123: completed\ndefault-broken: failed\n",
    "get_video": "Status: completed\nDownload: https://files.heygen.example/abc123.mp4?Expires=...",
    "create_video": "Video ID: default-video-0001\n",
    "create_video_dimensions": "",
    "video_input_structure": "pending\n",
    "list_avatars": "avatar-abc123: Abigail\navatar-id-here: Bruce\ndefault-twin: Clara\n",
    "list_voices": (
        "default-clone: My clone (English)\n"
        "voice-xyz789: Sunny (English)\n"
        "voice-id-here: Klara (German)\n"
    ),
    "get_current_user": "Plan: creator\nRemaining credits: 150\n",
    "list_templates": "template-news: News flash\ntemplate-hello: Welcome\n",
    "multi_account": '"default-intro"\n"default-intro"\n"work-intro"\n"personal-intro"\n',
    "full_names": "3\t2\n3\t3\ncompleted\ncreator\npending\n",
    "workflow": '{\n  "data": {\n...',
    "list_videos_cli": '{\n  "data": {\n...',
    "print_result": '{\n  "data": {\n...',
    "docs_read": "# HeyGen — Lua API Reference\n...",
    "docs_read_function": "# heygen.list_videos\n...",
    "docs_read_namespace": "# HeyGen — Lua API Reference\n...",
}


def test_every_example_has_an_expectation() -> None:
    """A new file is not left out of the test below."""
    assert names_of("heygen") == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(stubs: Stubs, name: str) -> None:
    """It succeeds, and its output is the same every time."""
    check_example(stubs, "heygen", name, PRINTED[name])


def test_the_documentation_keeps_its_word(stubs: Stubs) -> None:
    """Every Lua block of the page scripts read runs as it stands."""
    check_documentation(stubs, "heygen", blocks_of_guide=2)
