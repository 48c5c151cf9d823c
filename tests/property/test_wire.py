"""The frames: what goes in comes out, and garbage never raises anything but WireError."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import wire
from sandbox.calls import Call
from sandbox.limits import Limits
from sandbox.session import MAX_OUTSTANDING, Claim, Over, Printed, Session
from sandbox.wire import Decoder, Type, WireError

CHILD_TYPES = [Type.PRINT, Type.CALL, Type.DONE, Type.FAILED]
frames = st.lists(st.tuples(st.sampled_from(CHILD_TYPES), st.binary(max_size=200)), max_size=8)


@given(frames, st.integers(1, 50))
def test_frames_survive_any_cut(sent: list[tuple[Type, bytes]], step: int) -> None:
    """However the stream is cut into chunks, the same frames come out, in order."""
    stream = b"".join(wire.encode(kind, payload) for kind, payload in sent)
    decoder = Decoder("child")
    got: list[tuple[Type, bytes]] = []
    for at in range(0, len(stream), step):
        got += decoder.feed(stream[at : at + step])

    assert got == sent
    assert not decoder.partial


@given(st.lists(st.binary(max_size=400), max_size=10))
@settings(max_examples=500)
def test_garbage_raises_only_wire_errors(chunks: list[bytes]) -> None:
    """No bytes of a child make the session raise anything but WireError."""
    session = Session(Limits())
    with suppress(WireError):
        for chunk in chunks:
            for event in session.receive(chunk):
                assert isinstance(event, Printed | Call | Over | Claim)


@given(st.sampled_from(CHILD_TYPES), st.binary(max_size=300))
@settings(max_examples=500)
def test_garbage_payloads_raise_only_wire_errors(kind: Type, payload: bytes) -> None:
    """A well-framed payload of garbage is refused with WireError or understood."""
    session = Session(Limits())
    with suppress(WireError):
        session.receive(wire.encode(kind, payload))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@given(st.lists(json_values, max_size=4))
def test_arguments_reach_the_answering_side_unchanged(arguments: list[object]) -> None:
    """The arguments that a call carries are given on as the same JSON value."""
    body = json.dumps(["mux", None, "list_assets", arguments]).encode()
    [event] = Session(Limits()).receive(wire.pack_call(1, body))

    assert isinstance(event, Call)
    assert json.loads(event.arguments) == arguments


@given(st.binary(min_size=1, max_size=300), st.integers(1, 20))
def test_output_is_text_without_control_characters(printed: bytes, step: int) -> None:
    """Whatever bytes are printed, the text is valid and harmless to a terminal."""
    session, text = Session(Limits()), ""
    for at in range(0, len(printed), step):
        for event in session.receive(wire.encode(Type.PRINT, printed[at : at + step])):
            assert isinstance(event, Printed)
            text += event.text

    text.encode()
    assert all(c in "\n\t" or not (ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0) for c in text)


def test_the_parent_half_is_refused_from_a_child() -> None:
    """A child may send only the child's messages; a header is enough to refuse."""
    for kind in (Type.START, Type.REPLY):
        with pytest.raises(WireError, match=f"^{kind.name} may not come from the child$"):
            Decoder("child").feed(wire.HEADER.pack(0, kind))


def test_oversize_is_refused_before_its_payload_arrives() -> None:
    """A length over the limit is refused at the header: nothing is buffered for it."""
    decoder = Decoder("child", {Type.PRINT: 10})

    with pytest.raises(WireError, match=r"^PRINT of 11 bytes; at most 10 allowed$"):
        decoder.feed(wire.HEADER.pack(11, Type.PRINT))


def test_a_reply_to_no_call_is_our_mistake() -> None:
    """Only a call that was made, and once, can be answered."""
    session = Session(Limits())
    session.receive(wire.pack_call(1, b'["demo",null,"echo",[]]'))
    session.answered(1)

    for seq in (1, 2):
        with pytest.raises(KeyError):
            session.answered(seq)


@given(st.lists(st.booleans(), max_size=200))
def test_never_more_calls_in_flight_than_the_bound(asks: list[bool]) -> None:
    """Whatever a child does, at most the bound is unanswered, and it ends in no result then."""
    session, made, waiting = Session(Limits(calls=1000)), 0, list[int]()
    for ask in asks + [True] * (MAX_OUTSTANDING + 1):
        if not ask and waiting:
            session.answered(waiting.pop())
        elif len(waiting) < MAX_OUTSTANDING:
            made += 1
            session.receive(wire.pack_call(made, b'["demo",null,"echo",[]]'))
            waiting.append(made)
    assert len(waiting) == MAX_OUTSTANDING
    with pytest.raises(WireError, match=r"^CALL while 64 replies were awaited$"):
        session.receive(wire.pack_call(made + 1, b'["demo",null,"echo",[]]'))
    with pytest.raises(WireError, match=r"^DONE \(ok\) while 64 replies were awaited$"):
        session.receive(wire.pack_end(Type.DONE, 0, 0, b"1"))
