"""Grants hold against scripts that try to get around them, and against a child that lies."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from core.calls import Effect, EffectClass
from core.clock import now_ms
from integrations.accounts import Accounts
from integrations.broker import Broker
from integrations.failure import CallFailed
from integrations.gate import Gate, Subject
from integrations.stubs import Stubs
from integrations.vendor_http import VendorHttp
from ledger.recording import Recording
from ledger.tape import Kind, MemoryTape
from runs.model import RunRequest, RunResult
from sandbox.calls import Call, Reply
from sandbox.limits import Limits
from sandbox.outcome import Reason
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants, GrantSet, Whose
from tests.mux_runs import mux_run, stub_accounts, whole_catalog
from worker.local import run_local

URL = "https://example.com/v.mp4"
#: Every name of the operation, from the pack.
CREATE = whole_catalog().function("mux", "create_asset").names
PRIVATE: dict[str, Any] = {
    "pattern": "mux.create_asset",
    "arguments": {
        "properties": {"playback_policy": {"const": ["signed"]}, "input": {"pattern": "^https:"}},
        "required": ["playback_policy"],
    },
}


def run_script(stubs: Stubs, script: str, grants: Grants, tape: MemoryTape | None = None) -> Any:
    """Run a script in the jail, held to grants."""

    async def run() -> RunResult:
        async with Sandbox(1) as sandbox:
            return await run_local(
                RunRequest(script=script, force=grants.force),
                sandbox=sandbox,
                catalog=whole_catalog(),
                accounts=stub_accounts(stubs),
                grants=grants,
                tape=tape,
            )

    return asyncio.run(run())


def posts(stubs: Stubs) -> int:
    """Give how many assets the stub was asked to create."""
    return len(stubs.mux.environments["default"].assets) - 3


@pytest.mark.jail
def test_what_is_not_granted_is_not_there_under_any_name(stubs: Stubs) -> None:
    """No alias, and no way through a named account, leads there; what may be read is there."""
    script = """
        local found = {}
        for _, name in ipairs({ NAMES }) do
          for _, group in ipairs({ app.integrations.mux, app.integrations.mux.production }) do
            if pcall(function() return assert(group[name]) end) then found[#found + 1] = name end
          end
        end
        local heygen = pcall(function() return app.integrations.heygen end)
        return { found, type(app.integrations.mux.list_assets), heygen }
    """.replace("NAMES", ",".join(f'"{name}"' for name in CREATE))
    for rules in (
        ["mux:read"],
        ["mux", f"deny:mux.{CREATE[-1]}"],
        ["mux", "deny:mux:write"],
    ):
        result = run_script(stubs, script, Grants.parse(rules))
        assert result.reason is Reason.OK, result.error
        assert result.result == [{}, "function", False]
    assert posts(stubs) == 0


@pytest.mark.jail
def test_a_question_and_a_denial_are_errors_of_lua(stubs: Stubs) -> None:
    """A function that asks is there; calling it is an error that says why, and costs nothing."""
    script = """
        local ok, problem = pcall(app.integrations.mux.create_asset, "https://example.com/v.mp4")
        return { ok, problem.code, tostring(problem) }
    """
    tape = MemoryTape(now_ms)
    result = run_script(stubs, script, Grants.parse(["mux:read", "ask:mux:write"]), tape)
    assert result.result == [
        False,
        "approval_required",
        (
            "mux.create_asset needs an approval, by the grant ask:mux:write; a run with `force`"
            " makes it without asking; no external call was made"
        ),
    ]
    assert [call.effect for call in result.calls] == [Effect.DENIED]
    assert Kind.INTENT not in [entry.kind for entry in tape.entries]
    assert tape.entries[0].body["grants"] == ["mux:read", "ask:mux:write"]
    assert posts(stubs) == 0


@pytest.mark.jail
def test_force_is_on_the_tape_and_lifts_that_question_only(stubs: Stubs) -> None:
    """With force the same script makes its call; a question about the function itself stays."""
    script = 'app.integrations.mux.create_asset("https://example.com/v.mp4") return 1'
    tape = MemoryTape(now_ms)
    forced = Grants.parse(["ask:mux:write"]).forced(force=True)
    assert run_script(stubs, script, forced, tape).reason is Reason.OK
    assert tape.entries[0].body["grants"] == {"run": ["ask:mux:write"], "force": True}
    for rule in ("ask:mux.create_asset", "ask:mux", "deny:mux:write"):
        held = Grants.parse(["ask:*:write", rule]).forced(force=True)
        assert run_script(stubs, script, held).reason is not Reason.OK
    assert posts(stubs) == 1


@pytest.mark.jail
def test_a_count_holds_for_calls_in_flight_together(stubs: Stubs) -> None:
    """Of ten calls at once, three are made, and the others say how many were."""
    script = """
        local results = parallel.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function(i)
          local ok, problem = pcall(app.integrations.heygen.get_current_user, {})
          return ok and "made" or problem.code .. "|" .. problem.message
        end, { concurrency = 10 })
        table.sort(results)
        return results
    """
    limited = GrantSet.parse([{"pattern": "heygen:read", "calls_per_run": 3}])
    grants = Grants(((Whose.KEY, limited), (Whose.RUN, GrantSet.parse(["*"]))))
    found = run_script(stubs, script, grants).result
    assert found[7:] == ["made"] * 3
    told = (
        "calls_used_up|heygen.get_current_user: this run's key is granted 3 calls of heygen:read"
        " in one run, and 3 were made; no external call was made"
    )
    assert found[:7] == [told] * 7


class TestArguments:
    """What is checked is what would be sent, however it was written."""

    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("name", CREATE)
    async def test_under_every_name_and_in_every_form(self, stubs: Stubs, name: str) -> None:
        """A table, values in order, texts that hold JSON: all are bound first."""
        async with mux_run(stubs, grants=Grants.parse([PRIVATE])) as run:
            for arguments in (
                [{"input": URL, "playback_policy": ["public"]}],
                [{"input": URL, "playback_policy": "public"}],
                [{"input": URL, "playback_policy": ["signed", "public"]}],
                [URL, ["public"]],
                [URL],
                [{"input": URL}],
                [{"input": "http://example.com/v.mp4", "playback_policy": ["signed"]}],
            ):
                error = await run.error(f"mux.{name}", *arguments)
                assert error["code"] == "arguments_denied"
                assert error["message"].endswith("; no external call was made")
            assert posts(stubs) == 0
            await run.value(f"mux.{name}", {"input": URL, "playback_policy": ["signed"]})
        assert posts(stubs) == 1

    async def test_the_message_says_what_is_allowed(self, stubs: Stubs) -> None:
        """With the name of the argument, and without the value that was given."""
        async with mux_run(stubs, grants=Grants.parse([PRIVATE])) as run:
            error = await run.error("mux.create_asset", {"input": URL, "playback_policy": ["drm"]})
        assert error["message"] == (
            "mux.create_asset with these arguments is not granted to this run:"
            ' playback_policy must be ["signed"]; no external call was made'
        )

    async def test_one_of_several_rules_must_fit(self, stubs: Stubs) -> None:
        """Rules of one rank are alternatives; none of another set's widens them."""
        rules = [
            {"pattern": "mux.list_assets", "arguments": {"properties": {"limit": {"const": n}}}}
            for n in (1, 2)
        ]
        key = GrantSet.parse([{"pattern": "mux", "arguments": {"maxProperties": 9}}])
        grants = Grants(((Whose.KEY, key), (Whose.RUN, GrantSet.parse(rules))))
        async with mux_run(stubs, grants=grants) as run:
            await run.value("mux.list_assets", {"limit": 1})
            await run.value("mux.list_assets", 2)
            assert (await run.error("mux.list_assets", 3))["code"] == "arguments_denied"


def test_patterns_see_texts_of_a_bounded_size() -> None:
    """A long text is refused before any pattern is asked; where there is none, it is not."""
    subject = Subject.of("notes", ("write",), EffectClass.WRITE)
    text = {"properties": {"text": {"pattern": "^(a|b)*a(a|b){20}c"}}}
    rule = {"pattern": "notes", "arguments": text}
    with pytest.raises(CallFailed) as refused:
        Gate(Grants.parse([rule])).admit(subject, None, {"text": "ab" * 1_000_000})
    assert refused.value.code == "arguments_denied"
    assert refused.value.message == (
        "notes.write: the arguments have 2000011 bytes; where grants have patterns for them,"
        " 16384 are allowed; no external call was made"
    )
    plain = {"pattern": "notes", "arguments": {"required": ["text"]}}
    Gate(Grants.parse([plain])).admit(subject, None, {"text": "ab" * 1_000_000})


class TestAccounts:
    """A limit to accounts holds for the default too, and tells nothing of others."""

    pytestmark = pytest.mark.anyio

    async def test_other_accounts_are_not_there_and_are_refused(self, stubs: Stubs) -> None:
        """The surface has the accounts that may be used; a lying child is told no more."""
        grants = Grants.parse([{"pattern": "mux:read", "accounts": ["production"]}])
        async with mux_run(stubs, grants=grants) as run:
            assert run.broker.surface()["mux"].accounts == ("production",)
            await run.value("mux.list_assets", account="production")
            for account in (None, "default", "nobody"):
                error = await run.error("mux.list_assets", account=account)
                assert error["code"] == "denied"
                assert "accounts it may use: production; no external call" in error["message"]
            assert run.last.effect is Effect.DENIED

    async def test_no_account_satisfies_two_sets_that_share_none(self, stubs: Stubs) -> None:
        """Each set alone allows some account; together they allow none."""
        tenant = GrantSet.parse([{"pattern": "mux", "accounts": ["default"]}])
        key = GrantSet.parse([{"pattern": "mux", "accounts": ["production"]}])
        async with mux_run(stubs, grants=Grants(((Whose.TENANT, tenant), (Whose.KEY, key)))) as run:
            assert run.broker.surface()["mux"].accounts == ()
            for account in ("default", "production"):
                error = await run.error("mux.list_assets", account=account)
                assert error["code"] == "denied"
            assert "to this run's key" in (await run.error("mux.list_assets"))["message"]

    async def test_what_needs_no_account_is_not_covered(self, stubs: Stubs) -> None:
        """A rule limited to accounts does not grant functions without one."""
        grants = Grants.parse([{"pattern": "*", "accounts": ["default"]}])
        async with mux_run(stubs, grants=grants) as run:
            assert (await run.error("demo.echo", 1))["code"] == "denied"
            await run.value("docs.list")


class TestCounts:
    """What counts is what was sent."""

    pytestmark = pytest.mark.anyio

    async def test_refused_calls_do_not_count(self, stubs: Stubs) -> None:
        """Wrong arguments and unknown accounts use nothing up; a call that failed does."""
        grants = Grants.parse([{"pattern": "mux", "calls_per_run": 2}])
        async with mux_run(stubs, grants=grants) as run:
            await run.error("mux.list_assets", {"limit": "x"})
            await run.error("mux.list_assets", account="nobody")
            assert (await run.error("mux.get_asset", "no-such"))["status"] == 404
            await run.value("mux.mux_list_assets")
            error = await run.error("mux.list_assets", account="production")
            assert error["code"] == "calls_used_up"
            assert "granted 2 calls of mux in one run, and 2 were made" in error["message"]

    async def test_calls_of_an_earlier_attempt_count(self, stubs: Stubs) -> None:
        """What is answered from the tape was made once; also where its account is gone by now."""
        grants = Grants.parse([{"pattern": "mux", "calls_per_run": 2}])
        async with mux_run(stubs, grants=grants) as run:
            await run.tape.append(Kind.STARTED, {"attempt": 1, "clock_ms": 0})
            await run.value("mux.list_assets", account="production")
        reached = stubs.mux_faults.counts.total()
        http = VendorHttp()
        again = Broker(whole_catalog(), http, now_ms).open(
            tenant=None,
            run_id="run_test",
            grants=grants,
            accounts=Accounts([stub_accounts(stubs).get("mux", "default")]),
            tape=MemoryTape(now_ms),
            limits=Limits(),
            recording=Recording.of(run.tape.entries),
        )
        replies = [
            await again.call(Call(seq, "mux", "list_assets", account, b"[]"))
            for seq, account in ((1, "production"), (2, None), (3, None))
        ]
        await again.abandon()
        await http.close()
        assert [reply.ok for reply in replies if isinstance(reply, Reply)] == [True, True, False]
        assert b"2 calls of mux in one run, and 2 were made" in getattr(replies[2], "body", b"")
        assert stubs.mux_faults.counts.total() == reached + 1

    async def test_each_run_has_its_own(self, stubs: Stubs) -> None:
        """One run's calls are not another's, though both have the same grants."""
        grants = Grants.parse([{"pattern": "mux", "calls_per_run": 1}])
        for _ in range(2):
            async with mux_run(stubs, grants=grants) as run:
                await run.value("mux.list_assets")
                assert (await run.error("mux.list_assets"))["code"] == "calls_used_up"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["mux.create_asset", "mux.CREATE_ASSET", "mux.create_asset ", "*.x"]
)
async def test_a_lying_child_gets_refusals(stubs: Stubs, name: str) -> None:
    """A call that the surface does not have is refused by the broker, whatever its spelling."""
    async with mux_run(stubs, grants=Grants.parse(["mux:read"])) as run:
        error = await run.error(name, URL)
        assert error["code"] in {"denied", "unknown_function", "unknown_integration"}
        assert orjson.dumps(error)
    assert posts(stubs) == 0
