"""What a check says of a script: each finding in exact words, and nothing that could be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from integrations.check import check_script
from integrations.check_report import CODES, MAX_FINDINGS
from sandbox.limits import SPECS
from tests.shipped import CATALOG

ROOT = Path(__file__).parents[2]
ASSETS = "Accepted parameters: limit, page, cursor, live_stream_id, upload_id."


def findings(script: str) -> list[tuple[int, int, str, str, str | None]]:
    """Give each finding as line, column, code, message, hint."""
    found = check_script(script, CATALOG).findings
    assert all(one.code in CODES for one in found)
    return [(one.line, one.column, one.code, one.message, one.hint) for one in found]


def only(script: str) -> tuple[str, str, str | None]:
    """Give code, message and hint of the one finding, which must be in line 2."""
    (found,) = findings(f"-- the first line\n{script}")
    assert found[0] == 2
    return found[2:]


def test_a_typo_in_a_function_a_parameter_and_a_type() -> None:
    """Three mistakes are three findings, each with its line and what was meant."""
    script = """
local mux = app.integrations.mux
local assets = mux.list_asset({ limit = 5 })
local more = mux.list_assets({ limti = 5 })
local all = mux.list_assets({ limit = "many" })
"""
    functions = (
        "mux has: list_assets, get_asset, create_asset, list_live_streams, get_live_stream,"
        " create_live_stream, get_realtime_data."
    )
    assert findings(script) == [
        (
            3,
            16,
            "unknown_function",
            "Unknown function: app.integrations.mux.list_asset. Did you mean: list_assets?",
            functions,
        ),
        (
            4,
            32,
            "unknown_parameter",
            "mux.list_assets: unknown parameter limti",
            f"Did you mean: limit? {ASSETS}",
        ),
        (5, 31, "wrong_type", "mux.list_assets: limit must be a whole number", ASSETS),
    ]


class TestNames:
    @pytest.mark.parametrize(
        "script",
        [
            "app.integrations.mux.list_asset()",
            'app["integrations"]["mux"].list_asset{}',
            "_G.app.integrations.mux.list_asset()",
            "(app.integrations.mux).list_asset()",
            "local m = app.integrations.mux return m.list_asset()",
            "local i = app.integrations local m <const> = i.mux return m.list_asset{}",
            "local f = app.integrations.mux.list_asset f()",
            "local m = app.integrations.mux local function g() return m.list_asset() end",
            "pcall(app.integrations.mux.list_asset, {})",
            "local t = { app.integrations.mux.list_asset().data }",
        ],
    )
    def test_an_unknown_function_is_found_by_any_way_to_it(self, script: str) -> None:
        """Aliases, brackets, parentheses and `_G` lead to the same function."""
        code, message, _ = only(script)
        assert code == "unknown_function"
        assert message == (
            "Unknown function: app.integrations.mux.list_asset. Did you mean: list_assets?"
        )

    def test_an_unknown_function_of_an_account(self) -> None:
        """What stands before the function may be any account; the function must exist."""
        code, message, _ = only("app.integrations.mux.production.get_aset{}")
        assert code == "unknown_function"
        assert message == (
            "Unknown function: app.integrations.mux.production.get_aset. Did you mean: get_asset?"
        )
        assert findings("local m = app.integrations.mux.production m.list_assets()") == []

    def test_an_unknown_integration(self) -> None:
        """The nearest integration is named, and all of them."""
        code, message, hint = only("return app.integrations.muxx.list_assets()")
        assert (code, message) == (
            "unknown_integration",
            "Unknown integration: app.integrations.muxx. Did you mean: mux?",
        )
        assert hint is not None
        assert hint.startswith("Known: ")

    def test_the_documentation_is_no_integration(self) -> None:
        """`app.integrations.docs` does not exist in the sandbox; `docs` does."""
        assert only("app.integrations.docs.list()")[2] == (
            "The documentation is the global docs: docs.list(), docs.search(), docs.read()."
        )
        assert only('docs.raed("mux")') == (
            "unknown_function",
            "Unknown function: docs.raed. Did you mean: read?",
            "docs has: list, search, read.",
        )

    def test_a_method_call_is_a_mistake(self) -> None:
        """The sandbox refuses `:`; so does the check."""
        assert only("app.integrations.mux:list_assets()") == (
            "method_call",
            "call app.integrations.mux.list_assets with '.', not with ':'",
            "Write mux.list_assets(...).",
        )

    def test_other_names_of_app(self) -> None:
        """`app` holds integrations and nothing else."""
        assert only("app.intgrations.mux.list_assets()") == (
            "unknown_name",
            "Unknown name: app.intgrations",
            "Functions are app.integrations.<integration>.<function>.",
        )

    @pytest.mark.parametrize(
        ("script", "message", "hint"),
        [
            (
                'os.execute("ls")',
                "os.execute does not exist here",
                "Nothing can be started from a script; call app.integrations instead.",
            ),
            (
                'local cjson = require "cjson"',
                "require does not exist here",
                "There are no modules; json, regex, docs and app are there already.",
            ),
            (
                'local f = io.open("x")',
                "io does not exist here",
                "Print with print(), take data from `input`, give it back with return.",
            ),
            ("return unpack({})", "unpack does not exist here", "Use table.unpack()."),
            ('prnt("x")', "the global prnt is never set", "Did you mean: print?"),
            (
                "return zzzzqqqq",
                "the global zzzzqqqq is never set",
                "No statement gives it a value.",
            ),
            ('string.lenght("x")', "string.lenght does not exist here", "Did you mean: len?"),
            (
                'json.parse("1")',
                "json.parse does not exist here",
                "json has: array, decode, encode, null.",
            ),
        ],
    )
    def test_what_the_sandbox_does_not_have(self, script: str, message: str, hint: str) -> None:
        """A name that is not there is told with what to use instead."""
        assert only(script) == ("unknown_name", message, hint)


class TestArguments:
    @pytest.mark.parametrize(
        ("script", "code", "message"),
        [
            ("list_assets{limit = 500}", "out_of_range", "limit must be at most 100, not 500"),
            ("list_assets{limit = -1}", "out_of_range", "limit must be at least 1, not -1"),
            ("list_assets(500)", "out_of_range", "limit must be at most 100, not 500"),
            ('list_assets("a")', "wrong_type", "limit must be a whole number"),
            ("list_assets{limit = 1.5}", "wrong_type", "limit must be a whole number, not 1.5"),
            ("list_assets{cursor = ''}", "out_of_range", "cursor must have 1 characters or more"),
            ("get_asset()", "missing_parameter", "asset_id is missing"),
            ("get_asset{}", "missing_parameter", "asset_id is missing"),
            ("get_asset{asset_id = nil}", "missing_parameter", "asset_id is missing"),
            ("get_asset{asset_id = 5}", "wrong_type", "asset_id must be a string, not 5"),
            ("get_asset{id = x()}", "unknown_parameter", "unknown parameter id"),
            ('get_asset("a", 2)', "invalid_arguments", "2 values given, at most 1 taken"),
            (
                'get_asset({asset_id = "a"}, 2)',
                "invalid_arguments",
                "give one table of named parameters, or plain values in order",
            ),
            (
                'create_asset{input = f, playback_policy = {"publik"}}',
                "invalid_value",
                'playback_policy must be "public", "signed" or "drm"',
            ),
            (
                "create_asset{input = f, meta = {title = 5, creator_id = f}}",
                "wrong_type",
                "meta.title must be a string, not 5",
            ),
        ],
    )
    def test_a_wrong_literal_is_found(self, script: str, code: str, message: str) -> None:
        """The words are those of the broker, for named and for positional arguments."""
        prelude = "local f, x = input.f, tostring local mux = app.integrations.mux "
        found = [
            one for one in findings(f"{prelude}\nmux.{script}") if one[2] != "missing_parameter"
        ] or findings(f"{prelude}\nmux.{script}")
        name = f"mux.{script[: re.search('[({]', script).start()]}"  # type: ignore[union-attr]
        assert (found[0][0], found[0][2], found[0][3]) == (2, code, f"{name}: {message}")

    def test_each_problem_has_its_own_place(self) -> None:
        """Every wrong parameter of a call is told, where it stands."""
        script = """app.integrations.mux.list_assets({
  limit = 1000,
  page = "two",
  curser = "x",
})"""
        assert [(one[0], one[1], one[2]) for one in findings(script)] == [
            (2, 3, "out_of_range"),
            (3, 3, "wrong_type"),
            (4, 3, "unknown_parameter"),
        ]

    @pytest.mark.parametrize(
        "arguments",
        [
            "({limit = n})",
            "{limit = 1 + 1}",
            "(given)",
            "(f())",
            "(...)",
            "{[key] = 1}",
            "{limit = 10.0, page = 0x1F}",
            "{f()}",
            "(given, 5)",
            "(nil, 2)",
            '{cursor = "a" .. n}',
            "{limit = #given, cursor = nil}",
        ],
    )
    def test_what_is_not_known_is_left_alone(self, arguments: str) -> None:
        """A value that is no literal could be right."""
        prelude = "local n, given, key, f = input, input, input, input "
        assert findings(f"{prelude} app.integrations.mux.list_assets{arguments}") == []

    @pytest.mark.parametrize(
        "arguments",
        ["(f())", "(...)", "{[k] = 1}", "{asset_id = k}", "(k)", "{f()}", "(table.unpack(k))"],
    )
    def test_a_parameter_that_may_be_given_is_not_missing(self, arguments: str) -> None:
        """What is computed may hold the required parameter."""
        script = f"local k, f = input, input app.integrations.mux.get_asset{arguments}"
        assert findings(script) == []

    def test_unknown_parts_hide_no_certain_mistake(self) -> None:
        """Missing and unknown names are told though other values are not known."""
        found = findings("local x = input app.integrations.mux.create_asset{inptu = x, meta = {}}")
        assert [one[2] for one in found] == ["missing_parameter", "unknown_parameter"]


class TestNothingFalse:
    @pytest.mark.parametrize(
        "script",
        [
            "local name = input.name return app.integrations.mux[name]({})",
            "local mux = app.integrations.mux mux = input return mux.anything()",
            "local mux = app.integrations.mux local function f() mux = nil end mux.anything()",
            "do local mux = app.integrations.mux end local mux = input mux.anything()",
            "local function f(app) return app.integrations.nothing.here() end",
            "for _, app in ipairs(input) do app.anything.at.all() end",
            "app = { mine = print } app.mine()",
            "local prod = app.integrations.mux.production print(prod)",
            "local ok, cjson = pcall(require, 'cjson')",
            "local unpack = table.unpack or unpack",
            "if io then io.write('x') end",
            "if os.getenv and os.getenv('X') then print(1) end",
            "function string.trim(s) return s end return string.trim('x'), ('x'):trim()",
            "function helper() return later() end function later() return 1 end",
            "_G.x = 1 return x",
            "rawset(_G, 'y', 1) return y",
            "local g = _G g[input] = 1 return z",
            "for k, v in pairs(_G) do print(k, v) end return w",
            "local _ENV = { print = print } return app.nothing.at.all",
            "return type(undefined), undefined == nil, not undefined",
            "local t = { app = 1 } return t.app.foo, input.anything.at.all",
            "goto done do local x end ::done:: return 0x7fffffffffffffff, 1e400, '\\xff'",
        ],
    )
    def test_a_script_that_could_be_right(self, script: str) -> None:
        """What is only known while a script runs is no finding."""
        assert findings(script) == []

    def test_every_example_is_clean(self) -> None:
        """No example or guide has a finding, but the one that shows a refusal on purpose."""
        found = {
            path.relative_to(ROOT).as_posix(): findings(path.read_text("utf-8"))
            for path in (ROOT / "examples").rglob("*.lua")
        }
        refused = found.pop("examples/mux/handle_errors.lua")
        assert [one[2] for one in refused] == ["out_of_range"]
        assert {name: one for name, one in found.items() if one} == {}

    def test_every_documented_call_is_clean(self) -> None:
        """The examples of all packs and guides call functions that exist, as they take them."""
        texts = [
            function.spec.example.lua
            for integration in CATALOG.integrations.values()
            for function in integration.functions
            if function.spec
        ]
        for guide in (ROOT / "integrations/packs").glob("*.md"):
            texts += re.findall(r"```lua\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
        assert len(texts) > 20
        assert {text: found for text in texts if (found := findings(text))} == {}


class TestNeeds:
    def test_functions_accounts_and_writes(self) -> None:
        """Aliases lead to the function's own name; no account named is `default`."""
        report = check_script(
            """
            local mux = app.integrations.mux
            local one = mux.mux_get_asset("a")
            local two = app.integrations.mux.production.create_asset{ input = "https://a/b.mp4" }
            print(docs.read("mux"))
            pcall(mux.get_current_user)
            """,
            CATALOG,
        )
        assert report.to_json() == {
            "ok": True,
            "findings": [],
            "needs": {
                "functions": [
                    "docs.read",
                    "mux.create_asset",
                    "mux.get_asset",
                    "mux.get_realtime_data",
                ],
                "accounts": ["mux.default", "mux.production"],
                "writes": True,
                "dynamic": False,
            },
        }

    @pytest.mark.parametrize(
        ("script", "dynamic"),
        [
            ("app.integrations.mux.list_assets()", False),
            ("parallel.map({1}, app.integrations.mux.get_asset)", False),
            ("local m = app.integrations.mux print(m.list_assets)", False),
            ("print(app.integrations.mux)", True),
            ("return app.integrations[input]", True),
            ("for name in pairs(app.integrations) do print(name) end", True),
            ("local a = app a = app.integrations", True),
            ("return _G", True),
            ("return _G[input]", True),
            ("local _ENV = {}", True),
            ("f = app.integrations.mux", True),
            ("return { app }", True),
        ],
    )
    def test_what_cannot_be_followed_is_dynamic(self, script: str, *, dynamic: bool) -> None:
        """A namespace that others get hold of may be used in ways that cannot be seen."""
        assert check_script(script, CATALOG).needs.dynamic is dynamic

    def test_functions_named_without_a_call_are_needed(self) -> None:
        """Whoever gets a function may call it."""
        needs = check_script("parallel.map({}, app.integrations.mux.get_asset)", CATALOG).needs
        assert (needs.functions, needs.accounts) == (["mux.get_asset"], ["mux.default"])


def test_findings_are_bounded() -> None:
    """However much is wrong, the report stays small and its making quick."""
    report = check_script("app.integrations.mux.lst_assets() " * 5_000, CATALOG)
    assert len(report.findings) == MAX_FINDINGS


def test_a_script_over_the_limit_is_not_read() -> None:
    """More bytes than a script may have are one finding, whatever they are."""
    limit = SPECS["script_bytes"].maximum
    assert findings("\u00e4" * (limit // 2 + 1)) == [
        (1, 1, "too_large", f"the script has {limit + 2} bytes, {limit} are allowed", None)
    ]
