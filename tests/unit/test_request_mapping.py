"""Bound arguments become exactly the request the pack describes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from integrations.accounts import AccountsFile
from integrations.arguments import bind
from integrations.failure import CallFailed
from integrations.request import VendorRequest, build
from tests.shipped import CATALOG


def request_of(name: str, given: dict[str, Any], base_url: str | None = None) -> VendorRequest:
    """Give the request of a call."""
    text = '[mux.default]\ntoken_id = "id"\ntoken_secret = "secret"\n'
    text += f'base_url = "{base_url}"\n' if base_url else ""
    credentials = AccountsFile.parse(text, CATALOG, {}).for_tenant(None).get("mux", "default")
    function = CATALOG.function("mux", name)
    pack = CATALOG.integrations["mux"].pack
    assert pack is not None
    return build(function, pack, bind(function, orjson.dumps([given]), depth=64), credentials)


def body_of(name: str, given: dict[str, Any]) -> Any:
    """Give the body of a call's request."""
    body = request_of(name, given).body
    assert body is not None
    return orjson.loads(body)


class TestUrls:
    def test_pages_are_counted_from_one_at_mux(self) -> None:
        """The script's page 0 is Mux's page 1, and `limit` is always sent."""
        assert request_of("list_assets", {}).url == (
            "https://api.mux.com/video/v1/assets?limit=25&page=1"
        )

    def test_a_cursor_takes_the_place_of_the_page(self) -> None:
        """Mux knows one or the other."""
        assert request_of("list_assets", {"cursor": "a b"}).url.endswith("?limit=25&cursor=a%20b")

    @pytest.mark.parametrize(
        ("given", "encoded"),
        [
            ("a b", "a%20b"),
            ("ä", "%C3%A4"),
            ("a%2Fb", "a%252Fb"),
            ("?x=1#y", "%3Fx%3D1%23y"),
            ("..a", "..a"),
            ("a;b&c", "a%3Bb%26c"),
        ],
    )
    def test_ids_are_one_encoded_segment(self, given: str, encoded: str) -> None:
        """No id reaches another path, query or fragment."""
        url = request_of("get_asset", {"asset_id": given}).url
        assert url == f"https://api.mux.com/video/v1/assets/{encoded}"

    @pytest.mark.parametrize("given", [".", "..", "a/b", "../x", "a\\b", "a\r\nHost: x", "\x00"])
    def test_ids_that_are_no_segment_are_refused(self, given: str) -> None:
        """Traversal and control characters end before any request."""
        with pytest.raises(CallFailed, match="asset_id must be an ID") as caught:
            request_of("get_asset", {"asset_id": given})
        assert caught.value.message.endswith("no external call was made")

    @pytest.mark.parametrize(
        "base", ["http://127.0.0.1:9/", "http://127.0.0.1:9", "https://proxy.example/mux/v1/"]
    )
    def test_a_base_url_keeps_its_path_and_loses_its_slash(self, base: str) -> None:
        """Where requests go is joined without a doubled slash."""
        url = request_of("get_asset", {"asset_id": "x"}, base).url
        assert url == f"{base.rstrip('/')}/video/v1/assets/x"


class TestBodies:
    def test_documented_names_become_current_ones(self) -> None:
        """`input` and `playback_policy` are sent as Mux names them now."""
        given = {"input": "https://example.com/v.mp4", "playback_policy": ["public"]}
        assert body_of("create_asset", given) == {
            "inputs": [{"url": "https://example.com/v.mp4"}],
            "playback_policies": ["public"],
        }

    @pytest.mark.parametrize(
        "given",
        [
            "https://example.com/v",
            {"url": "https://example.com/v"},
            [{"url": "https://example.com/v"}],
        ],
    )
    def test_input_is_text_object_or_list(self, given: Any) -> None:
        """Three spellings of one input are sent as one."""
        assert body_of("create_asset", {"input": given, "playback_policy": "signed"}) == {
            "inputs": [{"url": "https://example.com/v"}],
            "playback_policies": ["signed"],
        }

    def test_settings_of_recordings_are_renamed_inside(self) -> None:
        """Inside `new_asset_settings` old names become new ones; the rest passes as it is."""
        given = {
            "playback_policy": ["public"],
            "new_asset_settings": {"playback_policy": ["public"], "mp4_support": "standard"},
        }
        assert body_of("create_live_stream", given) == {
            "playback_policies": ["public"],
            "new_asset_settings": {"playback_policies": ["public"], "mp4_support": "standard"},
        }

    def test_a_new_name_inside_wins(self) -> None:
        """Given both, the current name counts."""
        given = {"new_asset_settings": {"playback_policy": "public", "playback_policies": "signed"}}
        assert body_of("create_live_stream", given) == {
            "new_asset_settings": {"playback_policies": ["signed"]}
        }

    def test_nothing_is_an_empty_object(self) -> None:
        """A POST without arguments sends `{}`, never `[]` or nothing."""
        assert request_of("create_live_stream", {}).body == b"{}"

    def test_reading_has_no_body(self) -> None:
        """GET sends no body and no content type."""
        request = request_of("get_asset", {"asset_id": "x"})
        assert (request.body, dict(request.headers)) == (None, {})

    def test_big_integers_and_unicode_are_exact(self) -> None:
        """Numbers of 64 bits and any text arrive as they were written."""
        given = {"meta": {"title": "Zażółć 🎬"}, "new_asset_settings": {"x": 2**63 - 1}}
        assert body_of("create_live_stream", given) == given


def test_the_authorization_is_not_shown() -> None:
    """The header's value is a secret of the request."""
    request = request_of("get_asset", {"asset_id": "x"})
    assert request.secret_headers["Authorization"].reveal() == "Basic aWQ6c2VjcmV0"
    assert "aWQ6c2VjcmV0" not in repr(request)
