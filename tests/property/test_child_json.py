"""JSON from a child: what Python can write comes through, and nothing that it cannot."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.child_json import parse
from sandbox.wire import WireError

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@given(value=values, ascii_only=st.booleans())
def test_values_come_through(value: Any, *, ascii_only: bool) -> None:
    """Any JSON value within 64 bits is parsed as it was written, escaped or not."""
    assert parse(json.dumps(value, ensure_ascii=ascii_only).encode(), 64) == value


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\ud8019eE+-.0 ', max_size=40))
def test_what_is_accepted_can_be_written_again(text: bytes | str) -> None:
    """Whatever is accepted can be written by those who store and show it."""
    raw = text if isinstance(text, bytes) else text.encode()
    with suppress(WireError):
        orjson.dumps(parse(raw, 8))


@pytest.mark.parametrize("depth", [1, 2, 64])
def test_depth_is_exact(depth: int) -> None:
    """A value of exactly the depth passes, one level more does not; brackets in text are text."""
    assert parse(b"[" * depth + b"]" * depth, depth) is not None
    assert parse(b'"' + b"[{" * 100 + b'\\"[["', depth) == "[{" * 100 + '"[['
    with pytest.raises(WireError):
        parse(b"[" * (depth + 1) + b"]" * (depth + 1), depth)
