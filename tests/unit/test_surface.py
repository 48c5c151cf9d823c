"""What scripts see is one text for everybody who keeps it, and only such a text is read."""

from __future__ import annotations

import pytest

from sandbox.calls import FunctionSurface
from sandbox.surface import Surface, digest_of

SEEN = Surface({"mux": FunctionSurface(("list_assets", "lista_vidéo"), ("default",))})


def test_a_surface_is_the_bytes_that_tapes_name() -> None:
    """The text is compact UTF-8 JSON in the order given: digests on tapes are of exactly it."""
    text = '{"mux":{"functions":["list_assets","lista_vidéo"],"accounts":["default"]}}'.encode()
    assert SEEN.text == text
    assert SEEN.sha256 == digest_of(text)
    assert Surface.read(text) == SEEN
    assert Surface.of(SEEN) is SEEN


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b'{"a":{"functions":[]}}', b"[1]"])
def test_a_text_that_is_none_is_refused(text: bytes) -> None:
    """Whatever a forger writes, reading ends with one of the errors that readers expect."""
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        Surface.read(text)
