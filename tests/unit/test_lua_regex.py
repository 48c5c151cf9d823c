"""The global regex: RE2 for scripts."""

from __future__ import annotations

import pytest

from tests.lua_child import run_lua


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ('regex.match("on 2024-05-06", "(\\\\d+)-(\\\\d+)")', ["2024-05", "2024", "05"]),
        ('regex.match("abc", "x")', None),
        ('regex.match("ac", "(a)(b)?(c)")', ["ac", "a", None, "c"]),
        ('regex.match("k=v", "(?P<key>\\\\w)=(?<value>\\\\w)").value', "v"),
        ('regex.match("k=v", "(?P<key>\\\\w)=")', {"0": "k=", "1": "k", "key": "k"}),
        ('regex.match("ABC", "/b/i")[0]', "B"),
        ('regex.match("a/b", "/a\\\\/b/")[0]', "a/b"),
        ('regex.match_all("a1b22", "\\\\d+")', [["1"], ["22"]]),
        ('regex.match_all("abc", "x")', []),
        ('#regex.match_all("h\u00e9llo", "")', 6),
        ('regex.match("h\u00e9llo", "h.l")[0]', "h\u00e9l"),
        ('regex.gsub("a1b22", "\\\\d", "<$0>")', ["a<1>b<2><2>", 3]),
        ('regex.gsub("a b", "(\\\\w) (\\\\w)", "$2, \\\\1 ${1} $$")', ["b, a a $", 1]),
        ('regex.gsub("k=v", "(?P<key>\\\\w)=(\\\\w)", "${key}:$2")', ["k:v", 1]),
        ('regex.gsub("aaa", "a", "b", 2)', ["bba", 2]),
        ('regex.gsub("aaa", "a", "b", 0)', ["aaa", 0]),
        ('regex.gsub("ab", "\\\\w", function(m) return m[0]:upper() end)', ["AB", 2]),
        ('regex.gsub("ab", "\\\\w", { a = "1" })', ["1b", 2]),
        ('regex.gsub("abc", "", "-")', ["-a-b-c-", 4]),
        ('regex.match("foobar", "\\\\bbar")', None),
        ('#regex.match_all("a\\nb", "(?m)^.")', 2),
    ],
)
def test_matching(expression: str, wanted: object) -> None:
    """Matches, groups, names, replacement and flags are as the reference says."""
    assert run_lua(f"return {expression}").value == wanted


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ('regex.match("x", "(")', "regex.match: missing )"),
        ('regex.match("x", "(?=a)")', "regex.match: invalid perl operator"),
        ('regex.match("x", "\\\\1")', "regex.match: invalid escape sequence"),
        ('regex.match(1, "x")', "the subject (first argument) must be a string, got number"),
        ('regex.match("x")', "the pattern (second argument) must be a string, got nil"),
        ('regex.gsub("x", "x")', "the replacement (third argument) must be"),
        ('regex.match("x", ("x"):rep(9000))', "at most 8192 allowed"),
        ('regex.match(("x"):rep(5000000), "x")', "at most 4194304 allowed"),
        ('regex.match("x", ("(x)"):rep(100))', "at most 64 are allowed"),
        ('regex.match("x", "/x/q")', "unknown flag"),
        ('regex.gsub("x", "x", function() return {} end)', "invalid replacement (a table)"),
    ],
)
def test_refusals(expression: str, words: str) -> None:
    """What RE2 cannot do, or what is too large, is a Lua error in words."""
    ended = run_lua(f"local x = {expression}")

    assert ended.reason == "script_error"
    assert words in ended.message


def test_a_catastrophic_pattern_takes_no_time() -> None:
    """The pattern that takes other engines for ever is linear here."""
    ended = run_lua('return regex.match(("a"):rep(50000) .. "!", "^(a+)+$")')

    assert ended.value is None
