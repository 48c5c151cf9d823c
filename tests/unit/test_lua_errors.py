"""What is told of a script that failed: message, line, what to do."""

from __future__ import annotations

import pytest

from sandbox.limits import Limits
from tests.lua_child import run_lua


@pytest.mark.parametrize(
    ("script", "line", "message"),
    [
        ("local x\n\nreturn x.y", 3, "attempt to index a nil value (local 'x')"),
        ("error('boom')", 1, "boom"),
        ("\nerror('boom', 0)", 2, "boom"),
        ("\n\nlocal t = { message = 'told' }\nerror(t)", 4, "told"),
        ("local function f()\n  error('deep')\nend\n\nf()", 2, "deep"),
        ("require('socket')", 1, "attempt to call a nil value (global 'require')"),
        ("\nreturn json.decode('{')", 2, "json.decode: expected a key in quotes at byte 2"),
        ("\nlocal s = ('x'):rep({})", 2, "bad argument #2 to 'rep' (number expected, got table)"),
        ("local co = coroutine.wrap(function()\n  error('inside')\nend)\nco()", 2, "inside"),
        ("error()", 1, "error object: nil"),
        ("error(42)", 1, "42"),
        ("error(print)", 1, "error object: function"),
        ("error({ 1, 2 })", 1, "error object [1, 2]"),
    ],
)
def test_an_error_has_its_line(script: str, line: int, message: str) -> None:
    """An uncaught error is told without position in the text, with the script's line beside it."""
    ended = run_lua(script, name="workflow.lua")

    assert (ended.reason, ended.line, ended.message) == ("script_error", line, message)


def test_caught_errors_carry_the_scripts_name() -> None:
    """A message caught by pcall has the script's name and line, as in stock Lua."""
    script = "return select(2, pcall(function()\n  error('x')\nend))"

    assert run_lua(script, name="workflow.lua").value == "workflow.lua:2: x"


def test_a_name_cannot_confuse_a_message() -> None:
    """The script's name is cut and cleaned before it becomes part of messages."""
    script = "return select(2, pcall(error, 'x', 1)), select(2, pcall(function() error('y') end))"
    ended = run_lua(script, name="a:1: \n\x1b" + "b" * 100)

    assert ended.value[1] == "a_1_ __" + "b" * 33 + ":1: y"


@pytest.mark.parametrize(
    ("script", "line"), [("x = = 1", 1), ("local a\nif a then", 2), ("return 1 return 2", 1)]
)
def test_a_syntax_error_has_its_line(script: str, line: int) -> None:
    """A script that does not compile ends as a syntax error with a line and a hint."""
    ended = run_lua(script)

    assert (ended.reason, ended.line) == ("syntax_error", line)
    assert ended.hint is not None


def test_bytecode_is_a_syntax_error() -> None:
    """A script that begins like byte code is refused as text that does not compile."""
    ended = run_lua(b"\x1bLua\x54\x00\x19\x93\r\n\x1a\n")

    assert ended.reason == "syntax_error"
    assert "attempt to load a binary chunk" in ended.message


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("local x\nprint(x.y)", "dump() it"),
        ("load('x')()", "do not exist"),
        ("local s = 'a' .. {}", "tostring(value)"),
        ("local b = 1 < '2'", "tonumber(value)"),
        ("app.integrations.nope()", "granted to this run"),
        ("local function f() return f() + 1 end f()", "calls itself"),
        ("return print", "Return strings"),
    ],
)
def test_common_errors_say_what_to_do(script: str, words: str) -> None:
    """The hint of a common error says what to do next."""
    hint = run_lua(script, limits=Limits(memory_bytes=128 << 20)).hint

    assert hint is not None
    assert words in hint


def test_a_huge_message_is_cut() -> None:
    """An error message is at most 2 KiB of valid UTF-8, wherever the cut falls."""
    ended = run_lua("error(('\u00e9'):rep(100000), 0)")

    assert 2_000 < len(ended.message.encode()) <= 2_048
    assert set(ended.message) == {"\u00e9"}


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    """A message that is not UTF-8 is told with replacement characters."""
    assert run_lua("error('\\xff\\xfe!', 0)").message == "\ufffd\ufffd!"


def test_limits_end_the_child_and_are_told() -> None:
    """Nothing in Lua catches a limit, and the message names used, allowed and the layer."""
    script = "while true do pcall(function() while true do end end) end"
    ended = run_lua(script, limits=Limits(instructions=100_000))

    assert (ended.reason, ended.instructions, ended.exit_code) == ("instruction_limit", 100_000, 0)
    assert ended.message == (
        "instruction limit reached: used 100000 of 100000 allowed instructions "
        "(layer: count hook in the child)"
    )


def test_output_over_the_limit_is_cut_at_it() -> None:
    """All that fits is delivered, then the run ends."""
    ended = run_lua("print(('x'):rep(500))", limits=Limits(output_bytes=100))

    assert (ended.reason, ended.output) == ("output_limit", b"x" * 100)


def test_the_peak_of_memory_is_told() -> None:
    """Memory that was freed again before the end still counts."""
    ended = run_lua("local s = ('x'):rep(8000000) s = nil return 1")

    assert 7_500_000 <= ended.memory_bytes < 12_000_000


def test_memory_is_counted_without_the_prelude() -> None:
    """A run that does nothing uses next to nothing of its memory limit."""
    assert run_lua("return 1", limits=Limits(memory_bytes=2 << 20)).memory_bytes < 100_000
