"""The check's idea of Lua's syntax, held to Lua 5.4 itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa import lua54

from integrations.check import check_script
from integrations.check_report import Finding
from tests.shipped import CATALOG

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    *sorted((ROOT / "examples").rglob("*.lua")),
    *sorted((ROOT / "tests/security/attacks").glob("*.lua")),
    *sorted((ROOT / "sandbox/child/prelude").glob("*.lua")),
]
_LOAD = lua54.LuaRuntime(encoding=None).globals().load


def _load(script: str) -> Any:
    return _LOAD(script.encode("utf-8", "surrogateescape"), b"=s", b"t")


def lua_error(script: str) -> tuple[int, str] | None:
    """Give line and message with which Lua refuses a script; None when it takes it."""
    loaded = _load(script)
    if not isinstance(loaded, tuple):
        return None
    _, line, message = loaded[1].decode("utf-8", "replace").split(":", 2)
    return int(line), message.strip()


def our_error(script: str) -> Finding | None:
    """Give the first syntax error that the check finds."""
    found = check_script(script, CATALOG).findings
    return next((one for one in found if one.code == "syntax_error"), None)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_real_scripts(path: Path) -> None:
    """Every script of this repository is taken or refused as Lua does, in the same line."""
    script = path.read_text("utf-8", "surrogateescape")
    theirs, ours = lua_error(script), our_error(script)
    assert (theirs and theirs[0]) == (ours and ours.line)


ACCEPTED = [
    "return 7 // 2, 1 & 2 | 3 ~ 4 << 5 >> 6, ~1, -x ^ 2, not not x, #t, - - 1, a // b",
    "goto done do goto continue end ::continue:: ::done::",
    "for i = 1, 3 do for j = 1, 2 do goto next end ::next:: end",
    "local x <const>, y <close>, z = 1, nil, 3 local w<const> = x",
    "return 0x1p4, 0xA.8p-2, 1e10, .5, 5., 0x.1, 3e-2, 0xffffffffffffffffff, 9223372036854775808",
    'return "\\z  \n  a", \'\\x41\\u{7FFFFFFF}\\065\\n\\"\', "a\\\nb", "\\\r\nc"',
    "return [==[ ]] ]=] ]==] --[==[ x ]] \n ]==]",
    'return "--[[", 1 --[[ inline ]] + 2',
    'f{1, 2; 3,} f"x" f[[y]] return a.b["c"]:d"e"',
    "local t = {[1] = 2, x = 3, 'y'; f(), [ [[x]] ] = 1, ...}",
    "function a.b.c:d(...) local function f(a, ...) return ... end return f end",
    "a, b.c, d[1] = 1, 2 (f or g)(1) a.b:c(1).d = 3",
    "repeat local z = 1 until z while true do if x then break end; break; end",
    ";;; return;",
    "local global, self, continue, const, goto_ = 1 global = 2 return global",
    "\t\v\f\r\n-- a comment without an end",
    "return 'x'--[[\n]]..\"y\"",
    "local s = '\u00e9\u4e2d\U0001f600' return #s -- \u00e9",
    "x = y (f)()",
    "return function(...) end, {...}, select('#', ...)",
]


@pytest.mark.parametrize("script", ACCEPTED)
def test_what_lua_takes_is_taken(script: str) -> None:
    """All of Lua 5.4 is known: operators, attributes, goto, numbers, strings, comments."""
    assert lua_error(script) is None
    assert our_error(script) is None


BROKEN = [
    *("x = = 1", "local x = ", "if x = 1 then end", "foo(1,,2)", "local 1x = 2", "x += 1", "x++"),
    *("function f()\n  g()\n", "if x then\n y()\n", "while x\n do\n f()", "for i = 1 10 do end"),
    *(
        "end",
        "return 1 return 2",
        "f(1\n\n)end",
        "t = {1, 2\nprint(t)",
        "a.b:c = 1",
        "goto",
        "::a:",
    ),
    *("local function (x) end", "x = [==[ abc ]]", "--[[ abc", "x = 1 +\n\n", "else", "continue"),
    *("let x = 1", "for k in pairs(t)\n print(k)\nend", "if x\n print(1)\nend", "x = {b: 2}"),
    *('x = "\\400"', 'x = "\\q"', 'x = "\\u{110000000}"', "x = 0x", "x = 3..2", "x = 1e", "@"),
    *("repeat x()\nend", "print 'a' 'b' x", "f() = 1", "(f)", '"abc"', "return return", "x = $y"),
    *("function() end", "x = function f() end", "local t = {\n  a = 1\n  b = 2\n}", "x = }", ")"),
    *(
        "if x then y() else z() else w() end",
        "local a.b = 1",
        "# comment",
        "#!/usr/bin/lua",
        "x =>1",
    ),
    *("\ufeffreturn 1", "print(\u201chi\u201d)", "import os", "local s = `x`", "var x = 1;", "[=x"),
    *("local x <const> = 1\nx = 2", "local x <constant> = 1", "local x <const>= 1", "break"),
    *("function f()\n return ...\nend", "goto nowhere", "do ::a:: end goto a", "::a::\n::a::"),
    *("local <const> x = 1", "function f(..., a) end", "function f(...a) end", "local end = 1"),
    *('x = "abc\ny = 1', "x = 'a\\z\n\n b\n'", "\0", "x = \x01", "return 1,", "local a, = 1"),
]


@pytest.mark.parametrize("script", BROKEN)
def test_what_lua_refuses_is_found(script: str) -> None:
    """Typical broken scripts are refused in the line that Lua names."""
    theirs, ours = lua_error(script), our_error(script)
    assert theirs is not None
    assert ours is not None
    # Lua looks for labels and loops when their block ends.
    late = theirs[1].startswith(("break outside", "no visible label"))
    assert late or ours.line == theirs[0]


@pytest.mark.parametrize(
    ("script", "line", "column", "message", "hint"),
    [
        (
            "function f()\n  if x then\n    y()\nend\n",
            5,
            1,
            "'end' expected (to close 'function' at line 1) near <eof>",
            None,
        ),
        ("print(1", 1, 8, "')' expected (to close '(' at line 1) near <eof>", None),
        ("x = 1 +* 2", 1, 8, "unexpected symbol near '*'", None),
        ("x += 1", 1, 3, "unexpected symbol near '+'", "There is no `+=`: write `x = x + 1`."),
        ("if a = b then end", 1, 6, "unexpected symbol near '='", "A comparison is written `==`."),
        (
            "if a != b then end",
            1,
            6,
            "unexpected symbol near '!'",
            "Not is written `not`, not equal `~=`.",
        ),
        (
            "continue\nend",
            2,
            1,
            "unexpected symbol near 'end'",
            "There is no `continue`: use `goto continue` and a label `::continue::`.",
        ),
        (
            'x = "abc',
            1,
            9,
            "unfinished string near '\"abc'",
            "A string ends on its line; [[...]] may go over several.",
        ),
        (
            "x = [[abc",
            1,
            10,
            "unfinished long string (starting at line 1) near <eof>",
            "It ends at the next ]], which there is none of.",
        ),
        (
            'x = "\\d"',
            1,
            5,
            "invalid escape sequence '\\d'",
            "A backslash is written \\\\; long strings [[...]] take it as it is.",
        ),
        (
            "local x <const> = 1 x = 2",
            1,
            21,
            "attempt to assign to const variable 'x' near 'x'",
            None,
        ),
        ("goto far", 1, 1, "no visible label 'far' for goto near 'goto'", None),
        ("break", 1, 1, "break outside a loop near 'break'", None),
    ],
)
def test_the_words_of_syntax_errors(
    script: str, line: int, column: int, message: str, hint: str | None
) -> None:
    """A syntax error says where, what, and for common slips what to write instead."""
    assert our_error(script) == Finding(line, column, "syntax_error", message, hint)


@pytest.mark.parametrize(
    "shape",
    ["({})", "do {} end", "return {{{}}}", "if x then {} end", "f({})", "x = function() {} end"],
)
def test_nesting_is_refused_only_where_lua_refuses_it(shape: str) -> None:
    """Below Lua's own limit of levels nothing is refused; far above it, everything is."""
    opening, closing = shape.replace("{{{}}}", "{\0}").replace("{}", "\0").split("\0")
    for depth in range(185, 215):
        script = f"{opening * depth}{closing * depth}"
        if not isinstance(_load(script), tuple):
            assert our_error(script) is None, depth
    deep = our_error(f"{opening * 1_000}{closing * 1_000}")
    assert deep is not None


_WORDS = [
    *(
        "and",
        "break",
        "do",
        "else",
        "elseif",
        "end",
        "false",
        "for",
        "function",
        "goto",
        "if",
        "in",
    ),
    *("local", "nil", "not", "or", "repeat", "return", "then", "true", "until", "while", "+", "-"),
    *("*", "/", "%", "^", "#", "&", "~", "|", "<<", ">>", "//", "==", "~=", "<=", ">=", "<", ">"),
    *("=", "(", ")", "{", "}", "[", "]", "::", ";", ":", ",", ".", "..", "...", "a", "b.c", "1"),
    *("0x1p4", "'x'", "[[y]]", "<const>", "::l::", "f()", "(g)", "{1}", "x=1", "--[[c]]", "\n"),
]


@settings(max_examples=1_500, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=12), st.sampled_from([" ", "\n"]))
def test_any_words_are_judged_as_lua_does(words: list[str], between: str) -> None:
    """Of any sequence of words the check and Lua say the same: a script, or not one."""
    script = between.join(words)
    assert (our_error(script) is None) == (lua_error(script) is None), lua_error(script)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_real_scripts_are_judged_as_lua_does(data: st.DataObject) -> None:
    """A real script with one character taken out or put in is judged as Lua judges it."""
    path = data.draw(st.sampled_from(SCRIPTS[:40]))
    script = path.read_text("utf-8", "replace")[:4_000]
    at = data.draw(st.integers(0, len(script)))
    new = data.draw(
        st.sampled_from(["", " ", "\n", '"', "'", "(", "}", "=", "\\", "end", "1", "-"])
    )
    broken = script[:at] + new + script[at + 1 :]
    assert (our_error(broken) is None) == (lua_error(broken) is None), lua_error(broken)
