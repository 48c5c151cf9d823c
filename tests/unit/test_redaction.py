"""Previews and echoes: what is kept of a call shows no secret."""

from __future__ import annotations

import json
import pickle
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest

from integrations.redaction import MAX_PREVIEW, preview, scrub, scrub_text
from integrations.secret import Secret


@pytest.mark.parametrize(
    "key",
    [
        *("stream_key", "Stream-Key", "STREAMKEY", "srt_passphrase", "token_secret", "api_key"),
        *("Authorization", "x-api-key", "secretKey", "accessKey", "stsToken", "password", "salt"),
    ],
)
def test_secret_keys_are_redacted_at_any_depth(key: str) -> None:
    """Whatever its case and separators, a key that holds a secret shows none."""
    given: Any = {"a": [{"b": {key: "canary", "plain": 1}}]}
    shown = preview(given, ("stream_key", "srt_passphrase"))
    assert orjson.loads(shown) == {"a": [{"b": {key: "[redacted]", "plain": 1}}]}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://b.example/v.mp4?X-Sig=canary", "https://b.example/v.mp4?[redacted]"),
        ("https://b.example/v.mp4#canary", "https://b.example/v.mp4?[redacted]"),
        ("https://u:canary@b.example/v", "https://b.example/v"),
        ("see https://b.example/?a=canary now", "see https://b.example/?[redacted] now"),
        ("just text?", "just text?"),
    ],
)
def test_urls_lose_query_and_user(url: str, shown: str) -> None:
    """Presigned addresses carry their key in the query."""
    assert orjson.loads(preview({"input": url}, ())) == {"input": shown}


def test_a_preview_is_short_whatever_it_is_of() -> None:
    """Long texts, wide lists, many keys and deep nesting are cut."""
    deep: Any = "end"
    for _ in range(50):
        deep = [deep]
    given = {"text": "x" * 10**6, "list": list(range(10**5)), "deep": deep}
    given |= {f"key{n}" * 50: n for n in range(1000)}
    assert len(preview(given, ())) <= MAX_PREVIEW


def test_an_echoed_credential_is_taken_out() -> None:
    """Also where JSON escapes it, and in keys."""
    secret = 'quo"te\\ünï-secret'
    value = {"echo": f"you sent {secret}!", secret: [secret], "n": 1}
    clean = scrub(orjson.dumps(value), value, [secret])
    assert orjson.loads(clean) == {
        "echo": "you sent [redacted]!",
        "[redacted]": ["[redacted]"],
        "n": 1,
    }


def test_a_reply_without_credentials_is_left_alone() -> None:
    """Bytes are not changed without need, and a tiny secret is not searched for."""
    body = orjson.dumps({"a": "abc"})
    assert scrub(body, {"a": "abc"}, ["other-secret", "abc"]) is body
    assert scrub_text("abc", ["abc"]) == "abc"


def test_a_secret_comes_out_by_one_method_only() -> None:
    """Not by printing, formatting, comparing or serialising."""
    secret = Secret("canary")
    assert f"{secret} {secret!r} {[secret]}" == "Secret(***) Secret(***) [Secret(***)]"
    assert secret != Secret("canary")
    with pytest.raises(TypeError, match="a secret is not serialised"):
        pickle.dumps(secret)
    assert secret.reveal() == "canary"


def test_json_text_is_looked_into() -> None:
    """An argument that is JSON text shows no more than the same as a table would."""
    text = orjson.dumps(
        {"name": "x", "password": "canary", "inner": '{"token": "canary"}'}
    ).decode()
    shown = orjson.loads(preview({"fields": text}, ()))
    assert shown == {
        "fields": {"name": "x", "password": "[redacted]", "inner": {"token": "[redacted]"}}
    }
    assert orjson.loads(preview({"fields": "{not JSON"}, ())) == {"fields": "{not JSON"}


def test_a_credential_is_found_in_json_text() -> None:
    """Escaped once more, as text inside text has it, a credential is still one."""
    secret = 'se"cr\\et-canary'
    text = orjson.dumps({"a": secret}).decode()
    assert "canary" not in scrub_text(text, [secret])
    body = orjson.dumps({"schema": text})
    assert b"canary" not in scrub(body, orjson.loads(body), [secret])


def test_a_credential_is_found_in_what_is_made_of_it() -> None:
    """Encoded for an address, in base 64 and in hexadecimal, a credential is still one."""
    secret = 'se cr/+"\\ünï-canary'
    raw = secret.encode()
    made = [
        *(quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)),
        *(raw.hex(), raw.hex().upper(), b64encode(raw).decode(), urlsafe_b64encode(raw).decode()),
    ]
    for text in made:
        assert scrub_text(f"x {text} y", [secret]).replace("=", "").replace('"', "") == (
            "x [redacted] y"
        )
