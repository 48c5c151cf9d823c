"""Frames that come in order and hold what no frame may hold."""

from __future__ import annotations

import json

from sandbox import wire
from sandbox.wire import HEADER, Type
from tests.security.evil_children.attacks import call, done, evil, failed, send


@evil
def call_that_is_no_json(fd: int) -> None:
    send(fd, call(1, b"[1,"))


@evil
def call_with_nan(fd: int) -> None:
    send(fd, call(1, b'["demo",null,"echo",[NaN]]'))


@evil
def call_with_deep_arguments(fd: int) -> None:
    send(fd, call(1, b'["demo",null,"echo",[' + b"[" * 300_000 + b"]" * 300_000 + b"]]"))


@evil
def call_with_a_huge_number(fd: int) -> None:
    send(fd, call(1, b'["demo",null,"echo",[' + b"9" * 900_000 + b"]]"))


@evil
def call_with_a_long_name(fd: int) -> None:
    send(fd, call(1, b'["' + b"x" * 65 + b'",null,"echo",[]]'))


@evil
def call_of_wrong_shape(fd: int) -> None:
    send(fd, call(1, b'{"integration":"demo"}'))


@evil
def call_without_its_number(fd: int) -> None:
    send(fd, HEADER.pack(2, Type.CALL) + b"xx")


@evil
def end_without_its_counts(fd: int) -> None:
    send(fd, HEADER.pack(2, Type.DONE) + b"xx")


@evil
def result_that_is_no_json(fd: int) -> None:
    send(fd, done(b"{"))


@evil
def result_with_infinity(fd: int) -> None:
    send(fd, done(b"[Infinity]"))


@evil
def result_that_is_not_utf8(fd: int) -> None:
    send(fd, done(b'"\xff\xfe"'))


@evil
def result_nested_for_ever(fd: int) -> None:
    send(fd, done(b"[" * 500_000 + b"]" * 500_000))


@evil
def claims_a_reason_that_is_not_its_own(fd: int) -> None:
    send(fd, failed("cancelled"))


@evil
def claims_absurd_usage(fd: int) -> None:
    send(fd, done(b'"fine"', (1 << 64) - 1, (1 << 64) - 1))


@evil
def failure_of_wrong_shape(fd: int) -> None:
    send(fd, wire.pack_end(Type.FAILED, 0, 0, b'{"reason":"script_error"}'))


@evil
def failure_with_terminal_escapes(fd: int) -> None:
    body = {"reason": "script_error", "message": "\x1b[2J" + "E" * 3000, "line": 1, "hint": None}
    send(fd, wire.pack_end(Type.FAILED, 0, 0, json.dumps(body).encode()))


def failed_raw(message: str = '"x"', line: str = "null") -> bytes:
    """Make a FAILED frame of raw JSON parts."""
    body = f'{{"reason":"script_error","message":{message},"line":{line},"hint":null}}'
    return wire.pack_end(Type.FAILED, 0, 0, body.encode())


@evil
def call_with_half_a_character(fd: int) -> None:
    send(fd, call(1, b'["demo",null,"echo",["\\ud800"]]'))


@evil
def call_name_with_half_a_character(fd: int) -> None:
    send(fd, call(1, b'["de\\ud800mo",null,"echo",[]]'))


@evil
def call_with_a_number_without_end(fd: int) -> None:
    send(fd, call(1, b'["demo",null,"echo",[1e999]]'))


@evil
def call_nested_beyond_its_limit(fd: int) -> None:
    send(fd, call(1, b'["demo",null,"echo",[' + b"[" * 65 + b"]" * 65 + b"]]"))


@evil
def result_with_half_a_character(fd: int) -> None:
    send(fd, done(b'"\\udfff"'))


@evil
def result_with_a_number_without_end(fd: int) -> None:
    send(fd, done(b"[-1e999]"))


@evil
def result_with_an_integer_beyond_64_bits(fd: int) -> None:
    send(fd, done(b"9223372036854775808"))


@evil
def result_nested_beyond_its_limit(fd: int) -> None:
    send(fd, done(b"[" * 66 + b"]" * 66))


@evil
def failure_with_half_a_character(fd: int) -> None:
    send(fd, failed_raw(message='"\\ud800"'))


@evil
def failure_at_a_line_beyond_64_bits(fd: int) -> None:
    send(fd, failed_raw(line="9" * 400))


@evil
def failure_at_line_true(fd: int) -> None:
    send(fd, failed_raw(line="true"))


@evil
def failure_at_line_zero(fd: int) -> None:
    send(fd, failed_raw(line="0"))
