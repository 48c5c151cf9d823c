"""Any writes that are planned are accepted with their real values, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from core.calls import EffectClass
from core.plans import Plan, PlanTerms, canonical
from integrations.call_log import CallFacts
from integrations.catalog import Catalog
from integrations.failure import CallFailed
from integrations.function import Function
from integrations.held_plan import HeldPlan
from integrations.local_call import LocalCall
from integrations.planning import Candidate, Planner
from ledger.recording import Recording
from sandbox.calls import Call, Reply
from sandbox.limits import Limits
from tests.shop_vendor import PACK

TERMS = PlanTerms(
    script_sha256="s", input_sha256="i", seed=1, limits={}, grants=None, force=False,
    on_unknown="fail",
)  # fmt: skip
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
KEYS = st.one_of(st.sampled_from(["a", "b/c", "d~e", "", "password", "url"]), TEXT)
#: A text of which `{}` is what an earlier write answered.
USING = st.sampled_from(["{}", "x{}y", "{}{}", "https://x.example/{}"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), TEXT,
    st.builds(lambda text, back: {"use": text, "back": back}, USING, st.integers(1, 3)),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


def shop_create() -> Function:
    """Give a write whose answer has an id and an address."""
    with TemporaryDirectory() as directory:
        (Path(directory) / "shop.yaml").write_text(PACK)
        (Path(directory) / "shop.md").write_text("# Shop\n")
        return Catalog.load(operator=Path(directory)).function("shop", "create")


CREATE = shop_create()


def filled(value: Any, answers: list[str]) -> Any:
    """Put earlier answers into arguments."""
    if isinstance(value, list):
        return [filled(item, answers) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"use", "back"} and isinstance(value["back"], int):
        back = value["back"]
        return value["use"].replace("{}", answers[-back]) if back <= len(answers) else "none"
    return {key: filled(item, answers) for key, item in value.items()}


def candidate(arguments: Any) -> Candidate:
    """Make a call of these arguments."""
    return Candidate(CREATE, "default", LocalCall(CREATE, arguments), arguments, "{}")


def facts(seq: int) -> CallFacts:
    """Give the facts of a call."""
    call = Call(seq, "shop", "create", None, b"[]")
    return CallFacts.of(call, "shop.create", "default", EffectClass.WRITE, 0.0)


def planned(steps: list[Any]) -> Plan:
    """Plan writes, one after the other; each may use what earlier ones answered."""
    planner = Planner(Recording(), Limits())
    answers: list[str] = []
    for seq, step in enumerate(steps, 1):
        try:
            ending = planner.answer(candidate(filled(step, answers)), seq)
        except CallFailed as refused:
            assume(refused.code != "planned_value")
            raise
        assert ending is not None
        answers.append(orjson.loads(ending.body)["data"]["id"])
    return Plan.read(Plan.of(TERMS, planner.writes).text())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ARGUMENTS, min_size=1, max_size=4),
    st.lists(TEXT, min_size=4, max_size=4, unique=True),
    st.integers(0, 3),
    ARGUMENTS,
)
def test_exactly_what_was_planned_is_accepted(
    steps: list[Any], real: list[str], strayed: int, other: Any
) -> None:
    """Accepted if and only if the arguments are the plan's, with what vendors really answered."""
    held = HeldPlan(planned(steps), Recording())
    answers: list[str] = []
    for seq, step in enumerate(steps, 1):
        arguments, stray = filled(step, answers), filled(other, answers)
        if seq - 1 == strayed and canonical(stray) != canonical(arguments):
            with pytest.raises(CallFailed, match="off plan"):
                held.place(facts(seq), candidate(stray))
        placed = held.place(facts(seq), candidate(arguments))
        assert placed.write == seq
        held.begin(placed)
        answers.append(real[seq - 1])
        body = orjson.dumps({"data": {"id": answers[-1]}})
        held.learn(seq, Reply(ok=True, body=body, clock_ms=0))
    with pytest.raises(CallFailed, match="no more writes"):
        held.place(facts(len(steps) + 1), candidate({}))
