"""No set of grants can widen another, in whatever order and with whatever limits."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.calls import EffectClass
from integrations.failure import NOT_SENT, CallFailed
from integrations.gate import Gate, Subject
from tenancy.grants import Grants, GrantSet, Whose

_FUNCTIONS = [
    ("mux", ("list_assets",), EffectClass.READ),
    ("mux", ("create_asset", "mux_create_asset", "new"), EffectClass.WRITE),
    ("heygen", ("list_videos",), EffectClass.READ),
    ("mcp.files", ("search",), EffectClass.READ),
    ("mcp.files", ("remove",), EffectClass.WRITE),
]
SUBJECTS = st.sampled_from([Subject.of(*one) for one in _FUNCTIONS])
PATTERNS = st.sampled_from(
    [
        *("*", "*:read", "*:write", "mux", "mux:read", "mux:write", "mux.create_asset", "mux.new"),
        *("mux.list_assets", "heygen", "heygen:read", "mcp", "mcp:write", "mcp.files"),
        *("mcp.files:read", "mcp.files.search", "mcp.files.remove"),
    ]
)
SCHEMAS = st.sampled_from(
    [{}, {"required": ["n"]}, {"properties": {"n": {"maximum": 2}}}, {"maxProperties": 0}]
)
LIMITED = st.fixed_dictionaries(
    {"pattern": PATTERNS, "effect": st.sampled_from(["allow", "ask"])},
    optional={
        "accounts": st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2),
        "arguments": SCHEMAS,
        "calls_per_run": st.integers(1, 2),
    },
)
TEXTS = st.tuples(st.sampled_from(["", "allow:", "ask:", "deny:"]), PATTERNS).map("".join)
RULES = st.lists(TEXTS | LIMITED, max_size=6)
CALLS = st.tuples(
    SUBJECTS, st.sampled_from(["a", "b", None]), st.sampled_from([{}, {"n": 1}, {"n": 3}])
)


def verdict(gate: Gate, call: tuple[Subject, str | None, Any]) -> str:
    """Make one call; say `made`, `ask` or the code of the refusal."""
    try:
        admission = gate.admit(*call)
    except CallFailed as refused:
        return refused.code if refused.message.endswith(NOT_SENT) else "no word of what was sent"
    if admission.asked_by is not None:
        return "ask"
    gate.count(admission)
    return "made"


@given(st.lists(RULES, min_size=1, max_size=3), st.lists(CALLS, max_size=5), st.booleans())
def test_all_sets_must_agree(sets: list[Any], calls: list[Any], force: bool) -> None:  # noqa: FBT001
    """A call is made only if each set alone would have it made, and is there only if in each."""
    parsed = [(whose, GrantSet.parse(rules)) for whose, rules in zip(Whose, sets, strict=False)]
    whole = Gate(Grants(tuple(parsed), force))
    alone = [Gate(Grants((one,), force)) for one in parsed]
    for call in calls:
        assert whole.has(call[0]) == all(one.has(call[0]) for one in alone)
        if verdict(whole, call) == "made":
            # Each part alone had at most as many calls before this one.
            assert [verdict(one, call) for one in alone] == ["made"] * len(alone)


@given(RULES, st.lists(CALLS, max_size=5), st.randoms())
def test_the_order_of_rules_means_nothing(rules: list[Any], calls: list[Any], random: Any) -> None:
    """Lists that were merged or sorted say the same."""
    mixed = rules[:]
    random.shuffle(mixed)
    gates = [Gate(Grants.parse(one)) for one in (rules, mixed)]
    for call in calls:
        first, second = (verdict(gate, call) for gate in gates)
        assert first == second != "no word of what was sent"


@given(RULES, CALLS, st.booleans())
def test_an_added_denial_denies(rules: list[Any], call: Any, force: bool) -> None:  # noqa: FBT001
    """Whatever else a set says, a rule that denies a function by any of its names holds."""
    subject = call[0]
    for name in subject.names:
        gate = Gate(Grants.parse([*rules, f"deny:{name}"]).forced(force=force))
        assert not gate.has(subject)
        assert verdict(gate, call) == "denied"


@given(RULES, CALLS)
def test_force_only_spares_the_question(rules: list[Any], call: Any) -> None:
    """With force a call that was made is made, one that was refused is refused the same."""
    plain, forced = Gate(Grants.parse(rules)), Gate(Grants.parse(rules).forced(force=True))
    before, after = verdict(plain, call), verdict(forced, call)
    assert after == before or (before, after) == ("ask", "made")


@given(RULES)
def test_what_is_kept_means_the_same(rules: list[Any]) -> None:
    """Written down and read again, a set has the same rules."""
    parsed = GrantSet.parse(rules)
    assert GrantSet.parse(parsed.to_json()) == parsed
