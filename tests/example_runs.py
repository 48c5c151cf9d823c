"""Examples and documentation run as scripts: locally, in the real jail, against the stubs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from core.calls import Effect
from integrations.stubs import Stubs
from runs.model import RunRequest, RunResult
from sandbox.outcome import Reason
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants
from tests.mux_runs import stub_accounts
from tests.shipped import CATALOG
from worker.local import run_local

EXAMPLES = Path(__file__).parents[1] / "examples"


async def run_script(stubs: Stubs, script: str, grants: Grants | None = None) -> RunResult:
    """Run a script locally, with the stubs' accounts."""
    async with Sandbox(1) as sandbox:
        return await run_local(
            RunRequest(script=script),
            sandbox=sandbox,
            catalog=CATALOG,
            accounts=stub_accounts(stubs),
            grants=grants or Grants.everything(),
        )


def names_of(integration: str) -> set[str]:
    """Give the names of an integration's examples."""
    return {path.stem for path in (EXAMPLES / integration).glob("*.lua")}


def check_example(
    stubs: Stubs, integration: str, name: str, printed: str, *, fails_inside: bool = False
) -> RunResult:
    """
    Run an example and hold it to what it prints: whole, or how it begins when that ends in `...`.

    `fails_inside` is for one that catches errors of its calls.
    """
    script = (EXAMPLES / integration / f"{name}.lua").read_text()
    result = asyncio.run(run_script(stubs, script))
    assert (result.reason, result.error) == (Reason.OK, None)
    beginning = printed.removesuffix("...")
    assert result.output[: len(beginning)] == beginning, result.output
    assert printed.endswith("...") or result.output == printed, result.output
    if not fails_inside:
        assert {call.effect for call in result.calls} == {Effect.SUCCEEDED}
    return result


def documented_scripts(integration: str) -> Iterator[str]:
    """Give the Lua blocks of the page scripts read about an integration."""
    for part in CATALOG.docs.read(integration).split("```lua\n")[1:]:
        yield part.partition("```")[0]


def check_documentation(stubs: Stubs, integration: str, blocks_of_guide: int) -> None:
    """Run every Lua block of an integration's page, each on untouched stubs."""
    scripts = list(documented_scripts(integration))
    functions = CATALOG.integrations[integration].functions
    assert len(scripts) == blocks_of_guide + len(functions)
    for script in scripts:
        stubs.reset()
        result = asyncio.run(run_script(stubs, script))
        assert (result.reason, result.error) == (Reason.OK, None), script
