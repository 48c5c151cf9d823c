"""How a script reaches outside, and what it hears when a name is wrong or a call fails."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.limits import Limits
from tests.lua_child import CLOCK_MS, run_lua

MUX = {
    "mux": {
        "functions": ["list_assets", "get_asset", "create_asset"],
        "accounts": ["default", "production"],
    }
}


def test_calls_carry_names_accounts_and_arguments() -> None:
    """A call says integration, account, function and the list of positional arguments."""
    ended = run_lua("""
        local demo = app.integrations.demo
        demo.echo()
        demo.echo({ x = 1 })
        demo.work.echo("a", 2, nil, json.null)
        demo.default.echo({}, json.array())
        docs.read("mux.list_assets")
    """)

    assert ended.calls == [
        ["demo", None, "echo", []],
        ["demo", None, "echo", [{"x": 1}]],
        ["demo", "work", "echo", ["a", 2, None, None]],
        ["demo", "default", "echo", [{}, []]],
        ["docs", None, "read", ["mux.list_assets"]],
    ]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (
            "app.integrations.mux.list_asset",
            "Unknown function: app.integrations.mux.list_asset. Did you mean: list_assets?",
        ),
        ("app.integrations.mux.production.lst_assets", "lst_assets. Did you mean: list_assets?"),
        ("app.integrations.mx", "Unknown integration: app.integrations.mx. Did you mean: mux?"),
        (
            "app.integrations.mux.zzzzzzzzzzzzz",
            "mux.zzzzzzzzzzzzz. Known: create_asset, get_asset, list_assets, default, production.",
        ),
        ("app.integration", "Unknown name: app.integration. Did you mean: integrations?"),
        ("docs.serch", "Unknown function: docs.serch. Did you mean: search?"),
        ("json.parse", "Unknown function: json.parse. Known: array, decode, encode, null."),
        ("app.integrations.mux[1]", "Unknown function: app.integrations.mux.1. Known: "),
    ],
)
def test_a_wrong_name_says_the_nearest(expression: str, words: str) -> None:
    """A wrong member is an error with a suggestion, catchable, never a silent nil."""
    uncaught = run_lua(f"\nlocal x = {expression}", surface=MUX)
    caught = run_lua(f"return pcall(function() return {expression} end)", surface=MUX)

    assert (uncaught.reason, uncaught.line) == ("script_error", 2)
    assert words in uncaught.message
    assert caught.value[0] is False
    assert words in caught.value[1]


def test_names_can_be_listed() -> None:
    """`pairs` over app.integrations and an integration gives the granted names in order."""
    script = """
        local seen = {}
        for name, group in pairs(app.integrations) do
          for fn in pairs(group) do seen[#seen + 1] = name .. "." .. fn end
        end
        return seen
    """
    assert run_lua(script, surface=MUX).value == [
        "mux.create_asset",
        "mux.get_asset",
        "mux.list_assets",
    ]


def test_nothing_granted_says_so() -> None:
    """With an empty surface the error says that none is available."""
    assert "None is available to this run." in run_lua("app.integrations.mux()", surface={}).message


def test_a_failed_call_raises_its_fields() -> None:
    """The error of a failed call carries its fields and reads as its message."""
    script = """
        local ok, e = pcall(app.integrations.demo.fail, {})
        return { ok, e.code, e.status, tostring(e), "said: " .. e, type(e) }
    """
    assert run_lua(script).value == [
        False, "failed", 500, "demo.fail failed", "said: demo.fail failed", "table",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "reason"),
    [("denied", "denied"), ("not_granted", "denied"), ("rate_limited", "script_error")],
)
def test_an_uncaught_refusal_is_denied(code: str, reason: str) -> None:
    """A refusal nobody caught ends the run as denied; other failures as script errors."""

    def refuse(_: list[Any]) -> tuple[bool, Any]:
        return False, {"code": code, "message": "no"}

    ended = run_lua("local x = 1\napp.integrations.demo.echo()", answer=refuse)
    forged = run_lua("error({ code = 'denied', message = 'no' })")

    assert (ended.reason, ended.message, ended.line) == (reason, "no", 2)
    assert forged.reason == "script_error"


def test_a_colon_call_is_explained() -> None:
    """Calling with ':' would pass the integration itself: the error says what to write."""
    ended = run_lua("app.integrations.demo:echo({})")

    assert ended.message == "call app.integrations.demo.echo with '.', not with ':'"
    assert ended.calls == []


def test_calls_are_counted_in_the_child() -> None:
    """The call over the limit ends the run before it is sent."""
    ended = run_lua("while true do pcall(app.integrations.demo.echo) end", limits=Limits(calls=3))

    assert (ended.reason, len(ended.calls)) == ("call_limit", 3)
    assert "used 3 of 3 allowed calls" in ended.message


def test_arguments_too_large_to_send_are_an_error() -> None:
    """Arguments over what one call may carry are refused in Lua, and nothing is sent."""
    ended = run_lua("app.integrations.demo.echo(('x'):rep(1100000))")

    assert "argument 1: longer than" in ended.message
    assert ended.calls == []


def test_the_clock_moves_with_replies() -> None:
    """os.time is the time of the latest reply."""
    script = "app.integrations.demo.echo() app.integrations.demo.echo() return os.time()"

    assert run_lua(script).value == CLOCK_MS // 1000 + 2


def test_output_precedes_the_call_it_came_before() -> None:
    """What was printed before a call is sent before it."""
    script = "print('before') app.integrations.demo.echo() while true do end"
    ended = run_lua(script, limits=Limits(instructions=20_000))

    assert ended.order == ["PRINT", "CALL", "FAILED"]


def test_read_only_tables_say_so() -> None:
    """Writing to app, json, regex or docs is an error that names the table."""
    for path in ("app", "app.integrations", "app.integrations.demo", "json", "regex", "docs"):
        assert f"{path} is read-only: cannot set 'x'" in run_lua(f"{path}.x = 1").message
