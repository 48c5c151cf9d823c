"""Rules of grants: how they are written, which one decides, and what is refused as a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from core.calls import EffectClass
from core.errors import Invalid
from integrations.grant_names import check_names, check_taking
from tenancy.grant_rules import parse_rule, patterns_of
from tenancy.grants import MAX_BYTES, MAX_PATTERNS, Grants, GrantSet, Whose
from tests.shipped import CATALOG

READ, WRITE = EffectClass.READ, EffectClass.WRITE


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("mux:read", "mux:read"),
        ("allow:mux:read", "mux:read"),
        ("ask:*:write", "ask:*:write"),
        ("deny:mux.delete_asset", "deny:mux.delete_asset"),
        ("mcp.files.search", "mcp.files.search"),
        ("ask:mcp.files:write", "ask:mcp.files:write"),
        ({"pattern": "mux"}, "mux"),
        ({"pattern": "mux", "effect": "deny"}, "deny:mux"),
        ({"pattern": "mux", "calls_per_run": None}, "mux"),
        (
            {"calls_per_run": 2, "pattern": "mux", "accounts": ["a", "b", "a"]},
            {"pattern": "mux", "effect": "allow", "accounts": ["a", "b"], "calls_per_run": 2},
        ),
        (
            {"pattern": "mux", "effect": "ask", "arguments": {}},
            {"pattern": "mux", "effect": "ask", "arguments": {}},
        ),
    ],
)
def test_a_rule_is_kept_in_its_shortest_form(given: Any, shown: Any) -> None:
    """What is kept parses to the same rule again."""
    rule = parse_rule(given, "")
    assert rule.to_json() == shown
    assert parse_rule(shown, "") == rule


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        (1, "/g/0"),
        (None, "/g/0"),
        (["mux"], "/g/0"),
        ("ask:", "/g/0"),
        ("ask:ask:mux", "/g/0"),
        ("deny", None),
        ("ask:read", "/g/0"),
        ("mcp.files.", "/g/0"),
        ("mcp..x", "/g/0"),
        ({}, "/g/0/pattern"),
        ({"pattern": ["mux"]}, "/g/0/pattern"),
        ({"pattern": "ask:mux"}, "/g/0/pattern"),
        ({"pattern": "mux", "efect": "deny"}, "/g/0/efect"),
        ({"pattern": "mux", "a/b~": 1}, "/g/0/a~1b~0"),
        ({"pattern": "mux", "effect": "Deny"}, "/g/0/effect"),
        ({"pattern": "mux", "effect": None}, "/g/0/effect"),
        ({"pattern": "mux", "accounts": []}, "/g/0/accounts"),
        ({"pattern": "mux", "accounts": "default"}, "/g/0/accounts"),
        ({"pattern": "mux", "accounts": ["ok", "not ok"]}, "/g/0/accounts/1"),
        ({"pattern": "mux", "calls_per_run": 0}, "/g/0/calls_per_run"),
        ({"pattern": "mux", "calls_per_run": True}, "/g/0/calls_per_run"),
        ({"pattern": "mux", "calls_per_run": 1.0}, "/g/0/calls_per_run"),
        ({"pattern": "mux", "effect": "deny", "accounts": ["a"]}, "/g/0/accounts"),
        ({"pattern": "mux", "arguments": []}, "/g/0/arguments"),
        ({"pattern": "mux", "arguments": {"$ref": "#"}}, "/g/0/arguments/$ref"),
        (
            {"pattern": "mux", "arguments": {"properties": {"a": {"$ref": "http://x/"}}}},
            "/g/0/arguments/properties/a/$ref",
        ),
        ({"pattern": "mux", "arguments": {"$id": "x"}}, "/g/0/arguments/$id"),
        ({"pattern": "mux", "arguments": {"propertys": {}}}, "/g/0/arguments/propertys"),
        ({"pattern": "mux", "arguments": {"format": "uri"}}, "/g/0/arguments/format"),
        ({"pattern": "mux", "arguments": {"type": "text"}}, "/g/0/arguments"),
        ({"pattern": "mux", "arguments": {"pattern": "(a"}}, "/g/0/arguments"),
        ({"pattern": "mux", "arguments": {"pattern": "(?=a)"}}, "/g/0/arguments"),
        ({"pattern": "mux", "arguments": {"pattern": "a{999}{999}{999}"}}, "/g/0/arguments"),
        ({"pattern": "mux", "arguments": {"title": "x" * 5_000}}, "/g/0/arguments"),
    ],
)
def test_a_mistake_is_refused_where_it_stands(given: Any, pointer: str | None) -> None:
    """What is no rule is refused with its JSON pointer; `deny` alone is an integration's name."""
    if pointer is None:
        assert parse_rule(given, "/g/0").pattern == "deny"
        return
    with pytest.raises(Invalid) as refused:
        parse_rule(given, "/g/0")
    assert refused.value.pointer == pointer
    assert len(refused.value.detail) < 400


def test_a_deep_schema_is_refused() -> None:
    """No schema is deeper than can be walked."""
    schema: dict[str, Any] = {}
    for _ in range(300):
        schema = {"not": schema}
    with pytest.raises(Invalid):
        parse_rule({"pattern": "mux", "arguments": schema}, "")


def test_a_property_may_be_named_like_a_word_of_schemas() -> None:
    """Names of arguments are names, not words: `id` and `$ref` are fine there."""
    schema = {"properties": {"id": {"const": "a"}, "$ref": {"maxLength": 3}}, "required": ["id"]}
    rule = parse_rule({"pattern": "mux", "arguments": schema}, "")
    assert rule.validator is not None
    assert rule.validator.is_valid({"id": "a"})
    assert not rule.validator.is_valid({"id": "b"})


def test_a_set_has_a_largest_size() -> None:
    """A set is stored with every run: it is bounded in bytes, too."""
    wide = {"pattern": "mux", "arguments": {"title": "x" * 4_000}}
    with pytest.raises(Invalid, match=f"more than {MAX_BYTES} bytes"):
        GrantSet.parse([{**wide, "calls_per_run": n} for n in range(1, 20)])


def test_a_set_has_few_patterns() -> None:
    """The worst pattern is slow, though linear: there are few of them, wherever they stand."""
    pattern = {"pattern": "mux", "arguments": {"patternProperties": {"a": {"pattern": "b"}}}}
    GrantSet.parse([{**pattern, "calls_per_run": n} for n in range(1, MAX_PATTERNS // 2 + 1)])
    with pytest.raises(Invalid, match="more than 8 patterns"):
        GrantSet.parse([{**pattern, "calls_per_run": n} for n in range(1, MAX_PATTERNS)])
    for text in (r"\pL{9}", "[a-z]{500}", "(a|b){400}"):
        with pytest.raises(Invalid):
            parse_rule({"pattern": "mux", "arguments": {"pattern": text}}, "")
    url = r"^https://[A-Za-z0-9.-]{1,80}\.example\.com/.*$"
    parse_rule({"pattern": "mux", "arguments": {"properties": {"input": {"pattern": url}}}}, "")


@pytest.mark.parametrize(
    ("rules", "allowed", "asked"),
    [
        (["mux", "deny:mux.delete_asset"], ["list_assets", "create_asset"], []),
        (["deny:mux", "mux.create_asset"], ["create_asset"], []),
        (["deny:*", "mux:read"], ["list_assets"], []),
        (["*", "deny:mux:write"], ["list_assets"], []),
        (["deny:*:write", "mux"], ["list_assets", "create_asset", "delete_asset"], []),
        (["ask:*:write", "*:read", "mux.create_asset"], ["list_assets", "create_asset"],
         ["delete_asset"]),
        (["mux", "ask:mux"], [], ["list_assets", "create_asset", "delete_asset"]),
        (["mux:write", "ask:mux", "deny:mux:write"], [], ["list_assets"]),
        ([], [], []),
    ],
)  # fmt: skip
def test_the_most_specific_rule_decides(
    rules: list[str], allowed: list[str], asked: list[str]
) -> None:
    """Function before class before integration before everything; of equals, the strictest."""
    classes = {"list_assets": READ, "create_asset": WRITE, "delete_asset": WRITE}
    for order in (rules, rules[::-1]):
        grants = Grants.parse(order)
        for name, effect in classes.items():
            deciding = GrantSet.parse(order).deciding((f"mux.{name}",), effect)
            assert bool(deciding) is (name in [*allowed, *asked])
            assert any(grants.asks(rule) for rule in deciding) is (name in asked)


def test_tools_of_mcp_servers_have_more_ranks() -> None:
    """A tool's rules rank by tool, server and class, server, all servers."""
    assert patterns_of("mcp.files.search", READ) == (
        *("mcp.files.search", "mcp.files:read", "mcp.files", "mcp:read", "mcp", "*:read", "*"),
    )
    rules = GrantSet.parse(["mcp", "deny:mcp.files", "mcp.files:read", "deny:mcp.files.cat"])
    assert rules.deciding(("mcp.mail.send",), WRITE)
    assert rules.deciding(("mcp.files.search",), READ)
    assert not rules.deciding(("mcp.files.remove",), WRITE)
    assert not rules.deciding(("mcp.files.cat",), READ)


def test_force_lifts_questions_about_classes_only() -> None:
    """A question about a function or a whole integration stays, and so does every denial."""
    for text, asks in [
        ("ask:mux:write", False),
        ("ask:*:write", False),
        ("ask:mux", True),
        ("ask:*", True),
        ("ask:mux.create_asset", True),
    ]:
        rule = parse_rule(text, "")
        assert Grants().asks(rule)
        assert Grants(force=True).asks(rule) is asks
    forced = Grants.parse(["deny:mux:write", "mux"]).forced(force=True)
    assert not forced.allows("mux", "create_asset", "write")


@pytest.mark.parametrize("kept", [None, [], ["mux:read"], {"force": True}, {"tenant": []},
    {"tenant": ["*"], "key": ["mux"], "run": ["ask:mux:write"], "force": True}])  # fmt: skip
def test_what_is_kept_with_a_run_is_read_back(kept: Any) -> None:
    """A worker of this version holds a run to what was kept, also by the version before."""
    grants = Grants.of_json(kept)
    assert grants.to_json() == kept
    assert [whose for whose, _ in grants.sets] == [
        one for one in Whose if one in (kept or {}) or (one is Whose.RUN and type(kept) is list)
    ]


@pytest.mark.parametrize(
    "kept", ["*", 1, {"tenants": []}, {"tenant": "mux"}, {"run": [1]}, [None], {"key": None}]
)
def test_what_is_kept_wrongly_grants_nothing(kept: Any) -> None:
    """A damaged record is refused, never read as no limit."""
    with pytest.raises(Invalid):
        Grants.of_json(kept)


class TestNames:
    """Rules must name what exists: a mistyped denial would deny nothing."""

    @pytest.mark.parametrize(
        ("rule", "said"),
        [
            ("muxx:read", "no integration muxx. Did you mean: mux?"),
            ("deny:mux.create_assets", "function mux.create_assets. Did you mean: create_asset?"),
            (
                {"pattern": "mux.list_assets", "arguments": {"properties": {"limt": False}}},
                "mux.list_assets has no parameter 'limt'. Did you mean: limit?",
            ),
            (
                {"pattern": "mux:read", "arguments": {"required": ["playback_policy"]}},
                "mux:read has no parameter 'playback_policy'",
            ),
        ],
    )  # fmt: skip
    def test_unknown_ones_are_refused(self, rule: Any, said: str) -> None:
        """With the nearest name."""
        with pytest.raises(Invalid) as refused:
            check_names(GrantSet.parse(["mux", rule]), CATALOG)
        assert said in refused.value.detail
        assert str(refused.value.pointer).startswith("/grants/1")

    def test_an_alias_is_kept_as_the_name(self) -> None:
        """One function, one rule."""
        names = GrantSet.parse(["mux.mux_create_asset", "mux.create_asset", "mcp.any.tool", "*"])
        assert check_names(names, CATALOG).to_json() == ["mux.create_asset", "mcp.any.tool", "*"]

    def test_a_lease_may_allow_what_is_not_there(self) -> None:
        """It grants nothing; but what takes away must name something."""
        check_taking(GrantSet.parse(["nothing.here", "nowhere:write"]), CATALOG)
        for taking in ("deny:nowhere", "ask:mux.nothing", {"pattern": "no", "calls_per_run": 1}):
            with pytest.raises(Invalid):
                check_taking(GrantSet.parse([taking]), CATALOG)
