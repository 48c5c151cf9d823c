"""A request is checked whole before anything is stored, and what is wrong is located."""

from __future__ import annotations

import math
from typing import Any

import pytest

from core.errors import Invalid, TooLarge
from runs.accept import check_request
from runs.model import RunRequest
from sandbox.limits import SPECS, Limits


def nested(levels: int) -> Any:
    """Give a value nested so many levels deep."""
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_what_is_left_open_is_chosen() -> None:
    """Default limits, null input, and a seed of our own that differs from run to run."""
    first, second = check_request(RunRequest(script="x")), check_request(RunRequest(script="x"))

    assert (first.script, first.input, first.limits) == (b"x", b"null", Limits())
    assert first.seed != second.seed
    assert 0 <= first.seed < 2**63


def test_what_is_given_is_kept() -> None:
    """Limits, grants, seed, name and input are those of the request."""
    checked = check_request(
        RunRequest(
            script="größer",
            input={"a": 2**63 - 1},
            limits={"calls": 0},
            grants=["mux:read"],
            seed=2**63 - 1,
            name="nightly",
        )
    )

    assert checked.script == "größer".encode()
    assert checked.input == b'{"a":9223372036854775807}'
    assert (checked.limits.calls, checked.limits.cpu_ms) == (0, SPECS["cpu_ms"].default)
    assert (checked.grants, checked.seed, checked.name) == (["mux:read"], 2**63 - 1, "nightly")


@pytest.mark.parametrize(
    ("limits", "pointer", "message"),
    [
        (
            {"cpu_ms": 5},
            "/limits/cpu_ms",
            "limit cpu_ms must be 10 to 60000 ms, not 5",
        ),
        (
            {"a/b~c": 1},
            "/limits/a~1b~0c",
            f"unknown limit 'a/b~c'; known limits: {', '.join(SPECS)}",
        ),
    ],
)
def test_a_bad_limit_is_named_and_located(
    limits: dict[str, int], pointer: str, message: str
) -> None:
    """The pointer is a JSON pointer, the message says the range."""
    with pytest.raises(Invalid) as refused:
        check_request(RunRequest(script="x", limits=limits))

    assert (refused.value.pointer, refused.value.detail) == (pointer, message)


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        (RunRequest(script=""), "/script"),
        (RunRequest(script="\ud800"), "/script"),
        (RunRequest(script="x", input="\ud800"), "/input"),
        (RunRequest(script="x", input=[math.nan]), "/input"),
        (RunRequest(script="x", input={"a": {"b": -math.inf}}), "/input"),
        (RunRequest(script="x", input=2**64), "/input"),
        (RunRequest(script="x", input=nested(65)), "/input"),
        (RunRequest(script="x", name=""), "/name"),
        (RunRequest(script="x", name="a" * 129), "/name"),
        (RunRequest(script="x", name="a\nb"), "/name"),
        (RunRequest(script="x", grants=["mux:all"]), "/grants/0"),
    ],
)
def test_a_malformed_value_is_located(request_: RunRequest, pointer: str) -> None:
    """Whatever cannot be run, stored or shown is refused, with its place."""
    with pytest.raises(Invalid) as refused:
        check_request(request_)

    assert refused.value.pointer == pointer


def test_sizes_are_counted_in_bytes_and_both_numbers_are_told() -> None:
    """At the limit is allowed, one byte more is not."""
    allowed = SPECS["script_bytes"].maximum
    assert len(check_request(RunRequest(script="-" * allowed)).script) == allowed

    with pytest.raises(TooLarge) as refused:
        check_request(RunRequest(script="-" * (allowed - 1) + "ä"))
    assert refused.value.detail == "the script has 262145 bytes; at most 262144 are allowed"
    with pytest.raises(TooLarge) as refused:
        check_request(RunRequest(script="x", input="a" * 30, limits={"input_bytes": 31}))
    assert refused.value.detail == "the input has 32 bytes as JSON; at most 31 are allowed"


def test_the_deepest_input_allowed_is_taken() -> None:
    """`depth` counts containers within one another."""
    assert check_request(RunRequest(script="x", input=nested(64))).input.startswith(b"[")
