"""JSON in and out of a script: arrays stay arrays, integers exact, the rest refused in words."""

from __future__ import annotations

import pytest

from sandbox.limits import Limits
from tests.lua_child import run_lua

SAME = [
    "[]",
    "{}",
    "[[]]",
    '{"a":[]}',
    '{"a":{}}',
    "[1,null,3]",
    "[null]",
    "[null,null,1]",
    "1.0",
    "-0.0",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "0.1",
    "1e+100",
    '"\\u0000\\u001f\\"\\\\"',
    '"h\xe9\U0001f600"',
    '{"a":1,"b":[true,false],"c":"x"}',
    "true",
    "false",
    "null",
    '""',
    '{"":""}',
    "1.7976931348623157e+308",
    "4.94065645841247e-324",
]


@pytest.mark.parametrize("text", SAME)
def test_text_comes_back_as_it_was(text: str) -> None:
    """Decoding and encoding again, or passing input through, keeps arrays, numbers and text."""
    assert run_lua("return input", text).text == text
    assert run_lua("return json.decode(json.encode(input)) ", text).text == text
    assert run_lua("return app.integrations.demo.echo(input)", text).text == text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"a":null}', "{}"),
        ("9223372036854775808", "9.223372036854775808e+18"),
        ("1E5", "100000.0"),
        ("-0", "0"),
        ('"\\ud83d\\ude00 \\ud83d"', '"\U0001f600 \ufffd"'),
        (' { "b" : 1 ,\n"a": [ 1 , 2 ] } ', '{"a":[1,2],"b":1}'),
        ('{"a":1,"a":2}', '{"a":2}'),
    ],
)
def test_what_changes_on_the_way(text: str, wanted: str) -> None:
    """Keys are sorted, nulls absent, too large integers floats, lone surrogates U+FFFD."""
    got = run_lua("return input", text).text

    assert got == wanted or float(got) == float(wanted)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nul",
        "[1,]",
        "[1 2]",
        "{1:2}",
        '{"a" 1}',
        '{"a":1,}',
        "01",
        "1.",
        ".5",
        "1e",
        "+1",
        "0x1",
        "NaN",
        "Infinity",
        '"a',
        '"\\x"',
        '"\\u12"',
        '"\t"',
        "[1]]",
        "'a'",
        "[",
        '"\\',
        "-",
        "--1",
    ],
)
def test_text_that_is_not_json_is_refused(text: str) -> None:
    """Malformed text raises an error that names the place; nothing is guessed."""
    script = "local ok, e = pcall(json.decode, app.integrations.demo.echo()) return { ok, e }"
    ok, problem = run_lua(script, answer=lambda _: (True, text)).value

    assert not ok
    assert "json.decode: " in problem
    assert " at byte " in problem


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{ f = print }", "at .f: a function has no JSON form"),
        ("{ { coroutine.create(print) } }", "at [1][1]: a thread has no JSON form"),
        ("0 / 0", "NaN and infinite numbers have no JSON form"),
        ("{ x = math.huge }", "at .x: NaN"),
        ("'\\xff'", "a string is not valid UTF-8"),
        ("{ ['\\xed\\xa0\\x80'] = 1 }", "a key is not valid UTF-8"),
        ("{ 1, 2, x = 3 }", "mixed keys"),
        ("{ [1] = 'a', ['1'] = 'b' }", "mixed keys"),
        ("{ [1] = 1, [3] = 3 }", "sparse array"),
        ("{ [0] = 1 }", "sparse array"),
        ("{ [1.5] = 1 }", "neither a string nor an integer"),
        ("{ [true] = 1 }", "neither a string nor an integer"),
        ("(function() local t = {} t.a = { t } return t end)()", "a table contains itself"),
        ("(function() local t = json.array() t.x = 1 return t end)()", "an array has string keys"),
    ],
)
def test_values_without_json_form_say_why(value: str, words: str) -> None:
    """Encoding, calling and returning refuse the same values with the same words."""
    encoded = run_lua(f"json.encode({value})")
    called = run_lua(f"app.integrations.demo.echo({value})")
    returned = run_lua(f"return {value}")

    assert (encoded.reason, called.reason, returned.reason) == (
        "script_error",
        "script_error",
        "invalid_result",
    )
    assert words in encoded.message
    assert "argument 1: " in called.message
    assert words in called.message
    assert words in returned.message
    assert called.calls == []


def test_metatables_count_for_nothing() -> None:
    """Encoding reads raw fields: what a metatable adds or claims is not data."""
    script = """
        local spy = { __index = function() return 1 end, __len = function() return 9 end,
          __pairs = function() error("read") end, __tostring = function() return "x" end }
        return { setmetatable({ 1, 2 }, spy), setmetatable({ a = 1 }, spy), json.null }
    """
    assert run_lua(script).text == '[[1,2],{"a":1},null]'


def test_empty_tables_are_objects_until_marked() -> None:
    """A plain empty table is {}; json.array marks one as []."""
    script = "local t = json.array({}) return { {}, json.array(), t, json.array({ 1 }) }"

    assert run_lua(script).text == "[{},[],[],[1]]"


def test_several_values_are_a_list() -> None:
    """No value is null, several are a list with null for nil."""
    assert run_lua("return").text == "null"
    assert run_lua("return nil, 'no such asset'").text == '[null,"no such asset"]'


def test_depth_is_bounded_both_ways() -> None:
    """The depth limit counts levels, in decoding and encoding alike."""
    limits = Limits(depth=3)
    deep = "return json.encode(json.decode(('['):rep({n}) .. (']'):rep({n})))"

    assert run_lua(deep.replace("{n}", "3"), limits=limits).value == "[[[]]]"
    assert "deeper than 3" in run_lua(deep.replace("{n}", "4"), limits=limits).message
    encoded = run_lua("return json.encode({ { { {} } } })", limits=limits)
    assert "nested deeper than 3 levels" in encoded.message


def test_a_reply_of_a_mebibyte_is_cheap() -> None:
    """Decoding 1 MiB of a list reply takes less than 30 million instructions."""
    row = {"id": "asset_00000001", "status": "ready", "duration": 23.25, "tags": ["a", "b"]}
    reply = {"data": [row] * 13_000}
    ended = run_lua("return #app.integrations.demo.echo().data", answer=lambda _: (True, reply))

    assert ended.value == 13_000
    assert ended.instructions < 30_000_000
