"""Grants: exactly what is named, nothing else."""

from __future__ import annotations

from itertools import product

import pytest

from core.errors import Invalid
from tenancy.grants import MAX_GRANTS, Grants

FUNCTIONS = [
    ("mux", "list_assets", "read"),
    ("mux", "create_asset", "write"),
    ("heygen", "list_videos", "read"),
    ("heygen", "create_video", "write"),
]


@pytest.mark.parametrize(
    ("texts", "allowed"),
    [
        ([], []),
        (["*"], [0, 1, 2, 3]),
        (["mux"], [0, 1]),
        (["mux:read"], [0]),
        (["mux:write"], [1]),
        (["*:read"], [0, 2]),
        (["*:write"], [1, 3]),
        (["mux.create_asset"], [1]),
        (["mux:read", "heygen.create_video"], [0, 3]),
        (["muxx", "mu", "mux.list_asset", "mux.list_assets_"], []),
    ],
)
def test_a_grant_covers_exactly_what_it_names(texts: list[str], allowed: list[int]) -> None:
    """A function may be called if a line names it, its class or its integration; else not."""
    grants = Grants.parse(texts)
    assert [i for i, one in enumerate(FUNCTIONS) if grants.allows(*one)] == allowed


def test_everything_is_the_star() -> None:
    """`Grants.everything()` allows what the text `*` does."""
    for one in FUNCTIONS:
        assert Grants.everything().allows(*one)
        assert Grants.parse(["*"]).allows(*one)


def test_texts_survive_and_repeats_go() -> None:
    """Parsing and printing gives the same texts, each once, in order."""
    texts = ["mux:read", "mux.create_asset", "*:write", "mux", "*"]
    assert Grants.parse(texts + texts).to_json() == texts


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "mux:", "mux.", ":read", ".x", "*.x", "**", "mux:read:write", "mux:read.x"),
        *("Mux:read", "mux:READ", "mux:read ", " mux", "mux\n", "mux:read\n", "mux*", "m-x"),
        *("mux:execute", "1mux", "a" * 65, "mux." + "a" * 65, "müx", "mux\x00"),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str) -> None:
    """A text that is no grant is refused, by its index, and never half understood."""
    with pytest.raises(Invalid) as refused:
        Grants.parse(["mux", text])
    assert refused.value.pointer == "/grants/1"
    assert len(refused.value.detail) < 300


def test_near_misses_are_named() -> None:
    """A small mistake is answered with the grant that was meant."""
    for wrong, meant in [("Mux:read", "mux:read"), ("mux:reads", "mux:read"), (" mux ", "mux")]:
        with pytest.raises(Invalid) as refused:
            Grants.parse([wrong])
        assert refused.value.hint == f"did you mean {meant!r}?"


def test_there_is_a_most() -> None:
    """More than the most lines are refused, also when they repeat."""
    Grants.parse(["mux"] * MAX_GRANTS)
    with pytest.raises(Invalid):
        Grants.parse(["mux"] * (MAX_GRANTS + 1))


def test_an_effect_class_that_is_none_is_our_bug() -> None:
    """A class other than read and write is never allowed by accident."""
    for texts in product(["*", "mux", "mux:read"]):
        with pytest.raises(ValueError, match="exec"):
            Grants.parse(texts).allows("mux", "x", "exec")
