"""Whatever a child sends as arguments: refused in words, or one request to the right place."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import orjson
from hypothesis import given
from hypothesis import strategies as st

from integrations.accounts import AccountsFile
from integrations.arguments import bind
from integrations.failure import CallFailed
from integrations.redaction import MAX_PREVIEW, preview
from integrations.request import VendorRequest, build
from tests.shipped import CATALOG

ACCOUNT = (
    '[mux.default]\ntoken_id = "id"\ntoken_secret = "secret"\nbase_url = "https://m.example/a"\n'
)
CREDENTIALS = AccountsFile.parse(ACCOUNT, CATALOG, {}).for_tenant(None).get("mux", "default")
FUNCTIONS = [one.name for one in CATALOG.integrations["mux"].functions]

plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
keys = st.text(max_size=8) | st.sampled_from(
    ["limit", "page", "asset_id", "input", "playback_policy", "new_asset_settings", "cursor"]
)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
)


def request_of(name: str, raw: bytes) -> VendorRequest | None:
    """Give the request of a call, or None when it was refused in words."""
    function, pack = CATALOG.function("mux", name), CATALOG.integrations["mux"].pack
    assert pack is not None
    try:
        return build(function, pack, bind(function, raw, depth=64), CREDENTIALS)
    except CallFailed as why:
        refused = why
    assert refused.code == "invalid_arguments"
    assert refused.message.endswith("; no external call was made")
    return None


@given(st.sampled_from(FUNCTIONS), st.lists(values, max_size=3))
def test_any_arguments_are_refused_or_sent_to_the_path_of_the_function(
    name: str, arguments: list[Any]
) -> None:
    """No value of a script chooses host, path prefix, or anything outside its own field."""
    request = request_of(name, orjson.dumps(arguments))
    if request is not None:
        url = httpx2.URL(request.url)
        assert (url.scheme, url.host, url.userinfo) == ("https", "m.example", b"")
        assert url.path.startswith(("/a/video/v1/", "/a/data/v1/monitoring/"))
        if request.body is not None:
            assert isinstance(orjson.loads(request.body), dict)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(raw: bytes) -> None:
    """What is no JSON, or no list, raises nothing but a refusal."""
    for name in FUNCTIONS:
        request_of(name, raw)


@given(st.text(min_size=1, max_size=256))
def test_an_id_is_one_segment_or_refused(asset_id: str) -> None:
    """What is sent decodes to exactly what was given, and adds no segment."""
    request = request_of("get_asset", orjson.dumps([asset_id]))
    if request is not None:
        sent = httpx2.URL(request.url).raw_path.decode()
        prefix, _, segment = sent.rpartition("/")
        assert prefix == "/a/video/v1/assets"
        assert unquote(segment) == asset_id


@given(st.text(min_size=1, max_size=256))
def test_a_query_value_is_one_value(cursor: str) -> None:
    """No text adds a parameter or ends the query."""
    request = request_of("list_assets", orjson.dumps([{"cursor": cursor}]))
    assert request is not None
    sent = urlsplit(httpx2.URL(request.url).raw_path.decode())
    assert parse_qsl(sent.query, keep_blank_values=True) == [("limit", "25"), ("cursor", cursor)]


@given(values)
def test_a_preview_is_always_short_text(value: Any) -> None:
    """Whatever the arguments, there is a preview of bounded length."""
    assert len(preview(orjson.loads(orjson.dumps(value)), ("stream_key",))) <= MAX_PREVIEW
