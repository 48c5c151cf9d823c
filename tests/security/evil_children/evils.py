"""
What a child under an attacker's full control might do with its socket.

Each function is one attack; the script's text names which. They run in the real jail, forked by the
real zygote, after START was read.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import struct
import time
from typing import NoReturn

import tests.security.evil_children.malformed  # noqa: F401 (its attacks are in the list too)
from sandbox import wire
from sandbox.wire import HEADER, Type
from tests.security.evil_children.attacks import EVILS, call, done, evil, failed, send

__all__ = ["EVILS", "preload", "serve"]


def preload() -> None:
    """Nothing to prepare: these children have no Lua."""


def serve(fd: int) -> NoReturn:
    """Read START and do what the script's text names."""
    decoder = wire.Decoder("parent")
    frames: list[tuple[Type, bytes]] = []
    while not frames:
        frames = decoder.feed(os.read(fd, 65536))
    EVILS[_script(frames[0][1])](fd)
    os._exit(0)


def _script(start: bytes) -> str:
    (length,) = struct.unpack_from("!I", start)
    header = json.loads(start[4 : 4 + length])
    return start[4 + length :][: header["script_bytes"]].decode()


@evil
def honest(fd: int) -> None:
    send(fd, done(b'"fine"'))


@evil
def exits_without_a_word(fd: int) -> None:
    os._exit(0)


@evil
def exits_with_a_code_after_its_result(fd: int) -> None:
    send(fd, done())
    os._exit(3)


@evil
def half_a_header(fd: int) -> None:
    send(fd, b"\0\0")


@evil
def half_a_frame(fd: int) -> None:
    send(fd, done()[:-3])


@evil
def half_a_frame_then_silence(fd: int) -> None:
    send(fd, done()[:-3])
    os.read(fd, 1)


@evil
def never_answers(fd: int) -> None:
    os.read(fd, 1)


@evil
def closes_early_and_lives_on(fd: int) -> None:
    os.close(fd)
    select.poll().poll(60_000)


@evil
def lives_on_after_its_result(fd: int) -> None:
    send(fd, done())
    os.read(fd, 1)


@evil
def burns_on_after_its_result(fd: int) -> None:
    send(fd, done())
    while True:
        pass


@evil
def two_results(fd: int) -> None:
    send(fd, done(b"1") + done(b"2"))


@evil
def a_result_then_a_failure(fd: int) -> None:
    send(fd, done(b"1"))
    send(fd, failed("script_error"))


@evil
def prints_after_its_result(fd: int) -> None:
    send(fd, done(b"1") + wire.encode(Type.PRINT, b"late"))


@evil
def calls_after_its_result(fd: int) -> None:
    send(fd, done(b"1") + call(1))


@evil
def half_a_frame_after_its_result(fd: int) -> None:
    send(fd, done(b"1") + b"\0")


@evil
def floods_tiny_prints(fd: int) -> None:
    frame = wire.encode(Type.PRINT, b"x") * 4096
    while True:
        send(fd, frame)


@evil
def floods_empty_prints(fd: int) -> None:
    send(fd, wire.encode(Type.PRINT, b""))


@evil
def floods_big_prints(fd: int) -> None:
    frame = wire.encode(Type.PRINT, b"x" * 65536)
    while True:
        send(fd, frame)


@evil
def announces_a_huge_frame(fd: int) -> None:
    send(fd, HEADER.pack(0xFFFFFFFF, Type.DONE))


@evil
def announces_a_result_over_the_limit(fd: int) -> None:
    send(fd, HEADER.pack(wire.end_size(1024 * 1024) + 1, Type.DONE))


@evil
def unknown_type(fd: int) -> None:
    send(fd, HEADER.pack(0, 99))


@evil
def speaks_as_the_parent(fd: int) -> None:
    send(fd, wire.pack_reply(1, b"1", ok=True, clock_ms=0))


@evil
def random_bytes(fd: int) -> None:
    send(fd, os.urandom(4096))


@evil
def calls_out_of_order(fd: int) -> None:
    send(fd, call(2))


@evil
def replays_an_id(fd: int) -> None:
    send(fd, call(1))
    os.read(fd, 65536)
    send(fd, call(1))


@evil
def replays_an_id_that_is_in_flight(fd: int) -> None:
    send(fd, call(1) + call(1))


@evil
def many_calls_and_prints_at_once(fd: int) -> None:
    frame = wire.encode(Type.PRINT, b"x")
    send(fd, b"".join(call(seq) + frame for seq in range(1, 65)))
    decoder, replies = wire.Decoder("parent"), 0
    while replies < 64:
        replies += len(decoder.feed(os.read(fd, 65536)))
    send(fd, done(b'"fine"'))


@evil
def more_calls_at_once_than_the_bound(fd: int) -> None:
    send(fd, b"".join(call(seq) for seq in range(1, 66)))


@evil
def calls_and_never_reads_a_reply(fd: int) -> None:
    for seq in range(1, 61):
        send(fd, call(seq, b'["demo",null,"large",[]]'))
    while True:
        time.monotonic()


@evil
def calls_for_pages_and_never_reads_one(fd: int) -> None:
    for seq in range(1, 61):
        send(fd, call(seq, b'["demo",null,"page",[]]'))
    while True:
        time.monotonic()


@evil
def result_while_a_reply_is_awaited(fd: int) -> None:
    send(fd, call(1) + done())


@evil
def result_while_many_replies_are_awaited(fd: int) -> None:
    send(fd, b"".join(call(seq) for seq in range(1, 65)) + done())


@evil
def failure_while_a_reply_is_awaited(fd: int) -> None:
    send(fd, call(1) + failed("script_error"))


@evil
def limit_while_a_reply_is_awaited(fd: int) -> None:
    send(fd, call(1) + failed("instruction_limit"))


@evil
def exits_while_replies_are_awaited(fd: int) -> None:
    send(fd, call(1) + call(2))


@evil
def calls_for_ever(fd: int) -> None:
    for seq in range(1, 1_000_000):
        send(fd, call(seq))
        os.read(fd, 65536)


@evil
def segfaults(fd: int) -> None:
    signal.raise_signal(signal.SIGSEGV)


@evil
def segfaults_after_its_result(fd: int) -> None:
    send(fd, done())
    ctypes.string_at(0)


@evil
def reads_address_zero(fd: int) -> None:
    ctypes.string_at(0)


@evil
def burns_cpu(fd: int) -> None:
    while True:
        pass


@evil
def sends_one_byte_at_a_time(fd: int) -> None:
    for byte in done(b'"fine"'):
        os.write(fd, struct.pack("B", byte))
