"""Signed notes and checkpoints: compatible with Go's `sumdb/note`, and strict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from ledger.notes import Checkpoint, SigningKey, VerifyKey

#: The key of the documentation of Go's golang.org/x/mod/sumdb/note.
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
KEY = SigningKey("log.example.org/test", bytes(range(32)))
NOTE = KEY.sign(12, bytes(32))


def test_keys_are_those_of_go() -> None:
    """The documented private key gives the documented public one, and both are written as read."""
    key = SigningKey.parse(GO_SECRET + "\n")
    assert key.secret() == GO_SECRET
    assert str(key.public) == str(VerifyKey.parse(GO_PUBLIC)) == GO_PUBLIC


def test_a_checkpoint_has_the_documented_form() -> None:
    """Origin, size, root in base64, an empty line, and the signature line."""
    lines = NOTE.split("\n")
    assert lines[:4] == ["log.example.org/test", "12", "A" * 43 + "=", ""]
    assert lines[4].startswith("\u2014 log.example.org/test ")
    assert lines[5:] == [""]
    assert KEY.public.open(NOTE) == Checkpoint("log.example.org/test", 12, bytes(32))


def test_a_cosignature_of_a_witness_does_no_harm() -> None:
    """Further signatures are of others: ours among them is enough."""
    other = SigningKey.new("witness.example.org").sign(1, bytes(32)).split("\n")[4]
    assert KEY.public.open(f"{NOTE}{other}\n").size == 12
    head, _, ours = NOTE.rpartition("\n\n")
    assert KEY.public.open(f"{head}\n\n{other}\n{ours}").size == 12


@pytest.mark.parametrize(
    "note",
    [
        *("", "\n\n", "x", NOTE.replace("12", "13"), NOTE.replace("12", "012")),
        *(NOTE[:-20] + "\n", NOTE.replace("\n\n", "\n"), NOTE.replace("\u2014", "-")),
        *(NOTE.replace("log.", "fog."), NOTE.split("\n\n")[0] + "\n\n", NOTE * 1_000),
        *("\ud800" + NOTE, NOTE.replace("\u2014 log", "\u2014  log"), NOTE.upper()),
        SigningKey.new("log.example.org/test").sign(12, bytes(32)),
        SigningKey("other", bytes(range(32))).sign(12, bytes(32)),
    ],
)
def test_what_the_key_did_not_sign_is_refused(note: str) -> None:
    """Changed, cut, of another key or name, or no note at all."""
    with pytest.raises(Invalid):
        KEY.public.open(note)


@given(text=st.text(max_size=60))
def test_no_text_makes_a_note_reader_raise_anything_else(text: str) -> None:
    """Any text is refused by `Invalid`, as a note, as a checkpoint and as a key."""
    for read in (KEY.public.open, Checkpoint.parse, VerifyKey.parse, SigningKey.parse):
        with pytest.raises(Invalid):
            read(text)
        with pytest.raises(Invalid):
            read(f"a\n1\n{text}\n")


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "x" * 201, "\u2003"])
def test_a_name_that_would_break_the_form_is_refused(name: str) -> None:
    """No space, plus or line end, as the form of a note demands."""
    with pytest.raises(Invalid, match="a log's name"):
        SigningKey.new(name)


def test_a_secret_key_is_not_shown() -> None:
    """Neither `repr` nor an error quotes it."""
    assert "AYEK" not in repr(SigningKey.parse(GO_SECRET))
    with pytest.raises(Invalid) as caught:
        SigningKey.parse(GO_SECRET.replace("c74f20a3", "c74f20a4"))
    assert "AYEK" not in str(caught.value)
