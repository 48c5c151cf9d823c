"""What no adapter can do, whatever it tries: write as a reader, loop for ever, leak or break."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from core.calls import Effect
from integrations.accounts import AccountsFile
from integrations.adapters import Adapter, Send
from integrations.catalog import Catalog
from integrations.request_parts import RequestParts
from integrations.stubs import Stubs
from integrations.throttle import Gate, MemoryThrottle, Throttle, ThrottleUnavailable
from integrations.vendor_call import MAX_STEPS
from tests.mux_runs import MuxRun, mux_run

PACKS = Path(__file__).parents[2] / "integrations" / "packs"
GET = RequestParts("GET", "/video/v1/assets")
POST = RequestParts("POST", "/video/v1/assets", body={"inputs": [{"url": "https://e.example/v"}]})
GIVEN = {"input": "https://e.example/v"}


@asynccontextmanager
async def adapted(
    stubs: Stubs,
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    name: str,
    adapter: Adapter,
    *,
    throttle: Throttle | None = None,
    require: str | None = None,
) -> AsyncIterator[MuxRun]:
    """Open a run in which calls of Mux's `name` are made by this adapter."""
    module = ModuleType("integrations.adapters.tried")
    module.__spec__ = ModuleSpec(module.__name__, None)
    module.it = adapter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    text = (PACKS / "mux.yaml").read_text()
    before, mark, after = text.partition(f"  - name: {name}\n")
    if require is not None:
        after = after.replace("success: [200, 201]", f"success: [200, 201], require: {require}", 1)
    (directory / "mux.yaml").write_text(f"{before}{mark}    adapter: tried.it\n{after}")
    (directory / "mux.md").write_text("Guide.\n")
    catalog = Catalog.load(directory)
    only = "\n\n".join(one for one in stubs.accounts_toml.split("\n\n") if one.startswith("[mux."))
    accounts = AccountsFile.parse(only, catalog, {}).for_tenant(None)
    async with mux_run(stubs, accounts=accounts, tenant="acme", throttle=throttle) as run:
        run.broker.broker.catalog = catalog
        yield run


async def answer(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, directory: Path, name: str, adapter: Adapter
) -> tuple[dict[str, Any], MuxRun]:
    """Give the error of a call of Mux's `name`, made by this adapter."""
    async with adapted(stubs, monkeypatch, directory, name, adapter) as run:
        return await run.error(f"mux.{name}", GIVEN if name == "create_asset" else {}), run


async def test_a_reader_cannot_write(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A function granted as reading sends no write, and nothing leaves."""

    async def writes(_: dict[str, Any], send: Send) -> Any:
        return await send(POST)

    error, run = await answer(stubs, monkeypatch, tmp_path, "list_assets", writes)
    assert (error["code"], run.last.effect) == ("invalid_reply", Effect.FAILED)
    assert not stubs.mux_faults.seen


async def test_an_endless_adapter_ends(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One call sends a bounded number of requests."""

    async def loops(_: dict[str, Any], send: Send) -> Any:
        while True:
            await send(GET)

    error, _ = await answer(stubs, monkeypatch, tmp_path, "list_assets", loops)
    assert error["code"] == "too_many_requests"
    assert len(stubs.mux_faults.seen) == MAX_STEPS


async def test_a_broken_adapter_after_a_write_says_that_it_was_done(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The effect is what the vendor did, not what the adapter made of the reply."""

    async def breaks(_: dict[str, Any], send: Send) -> Any:
        return (await send(POST))["no such key"]

    error, run = await answer(stubs, monkeypatch, tmp_path, "create_asset", breaks)
    assert (error["code"], run.last.effect) == ("invalid_reply", Effect.SUCCEEDED)
    assert "the call itself succeeded" in error["message"]
    assert "no such key" not in error["message"]
    assert len(stubs.mux_faults.seen) == 1


async def test_a_refusal_after_a_write_does_not_undo_it(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever stops the adapter between two requests, the first one was done."""

    async def refuses(_: dict[str, Any], send: Send) -> Any:
        await send(POST)
        raise send.refuse("too late")

    error, run = await answer(stubs, monkeypatch, tmp_path, "create_asset", refuses)
    assert (error["code"], run.last.effect) == ("invalid_arguments", Effect.SUCCEEDED)


class CountsSome(MemoryThrottle):
    """Lets the first requests pass, so many; then nobody can tell."""

    def __init__(self, requests: int) -> None:
        super().__init__()
        self._left = requests

    async def enter(self, gate: Gate) -> float:
        self._left -= 1
        if self._left < 0:
            raise ThrottleUnavailable
        return await super().enter(gate)


@pytest.mark.parametrize(("counted", "effect"), [(0, "failed"), (1, "unknown")])
async def test_a_request_that_cannot_be_counted_is_no_error_of_the_call(
    stubs: Stubs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    counted: int,
    effect: str,
) -> None:
    """The attempt ends; the call may be made again only if no request of it changed anything."""

    async def writes_and_looks(_: dict[str, Any], send: Send) -> Any:
        await send(POST)
        return await send(GET)

    throttle = CountsSome(counted)
    made = adapted(
        stubs, monkeypatch, tmp_path, "create_asset", writes_and_looks, throttle=throttle
    )
    async with made as run:
        with pytest.raises(ThrottleUnavailable):
            await run.answer("mux.create_asset", GIVEN)
    assert run.kinds == ["intent", "effect"]
    told = run.tape.entries[-1].body
    assert (told["effect"], told["abandoned"]) == (effect, True)
    assert len(stubs.mux_faults.seen) == counted


async def test_a_write_that_was_refused_in_its_answer_does_not_undo_another(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second one answers 200 and says no: what the first one did stays done."""

    async def writes_twice(_: dict[str, Any], send: Send) -> Any:
        await send(POST)
        return await send(RequestParts("POST", "/video/v1/live-streams", body={}))

    accepted = "{at: data.status, equals: preparing}"
    made = adapted(stubs, monkeypatch, tmp_path, "create_asset", writes_twice, require=accepted)
    async with made as run:
        await run.error("mux.create_asset", GIVEN)
    assert run.last.effect is Effect.SUCCEEDED
    assert len(stubs.mux_faults.seen) == 2
