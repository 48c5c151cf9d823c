"""Every Lua example of the documents runs as it stands, in the real jail, against Mux's wire."""

from __future__ import annotations

import asyncio

import pytest

from core.calls import Effect
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from sandbox.outcome import Reason
from tenancy.grants import Grants
from tests.example_runs import check_documentation, check_example, names_of, run_script

pytestmark = pytest.mark.jail

#: What each prints, whole, or how it begins when it ends in `...`.
PRINTED = {
    "list_assets": "default-intro — preparing\nabc123xyz — ready\ndefault-broken — errored\n",
    "get_asset": "Status: ready\nDuration: 634.567 seconds\n",
    "create_asset": "Created asset: default-asset-0001\n",
    "list_live_streams": "abc123xyz — idle\n",
    "get_live_stream": "Status: idle\nStream key: default-stream-key\n",
    "create_live_stream": "Stream key: default-key-0001\nStream ID: default-stream-0001\n",
    "get_current_user": "Launch film: 42 viewers\nunknown: 3 viewers\n",
    "get_realtime_data": "Launch film: 42 viewers\nunknown: 3 viewers\n",
    "workflow": '{\n  "data": [\n...',
    "list_mcp_servers": "[]\n",
    "list_assets_cli": '{\n  "data": [\n...',
    "print_result": '{\n  "data": [\n...',
    "docs_read": "# Mux — Lua API Reference\n...",
    "docs_read_function": "# mux.list_assets\n...",
    "docs_read_namespace": "# Mux — Lua API Reference\n...",
    "multi_account": '"default-intro"\n"default-intro"\n"production-intro"\n"staging-intro"\n',
    "full_names": "ready\tidle\t2\n3\t1\npreparing\nidle\n",
    "handle_errors": "false\tnot_found\t404\nmux.get_asset: 404 not_found: The requested...",
}


def test_every_example_has_an_expectation() -> None:
    """A new file is not left out of the test below."""
    assert names_of("mux") == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(stubs: Stubs, name: str) -> None:
    """It succeeds, and its output is the same every time."""
    fails_inside = name == "handle_errors"
    check_example(stubs, "mux", name, PRINTED[name], fails_inside=fails_inside)


def test_the_documentation_keeps_its_word(stubs: Stubs) -> None:
    """Every Lua block of the page scripts read runs as it stands."""
    check_documentation(stubs, "mux", blocks_of_guide=2)


def test_an_unknown_effect_ends_the_run(stubs: Stubs) -> None:
    """No `pcall` holds on to a run whose write may have happened: it cannot be sent twice."""
    stubs.mux_faults.add(Fault("drop", "POST /video/v1/assets", times=99))
    script = """
        for _ = 1, 3 do
          pcall(app.integrations.mux.create_asset, { input = "https://example.com/v.mp4" })
        end
        print("not reached")
    """
    result = asyncio.run(run_script(stubs, script))
    assert result.reason is Reason.EFFECT_UNKNOWN
    assert result.error is not None
    assert "it was sent and may have been done" in result.error.message
    assert [call.effect for call in result.calls] == [Effect.UNKNOWN]
    assert result.output == ""
    assert stubs.mux_faults.counts == {"POST /video/v1/assets": 1}


def test_what_is_not_granted_does_not_exist(stubs: Stubs) -> None:
    """A run with `mux:read` has no function that writes, and nothing is sent."""
    script = "return pcall(function() return app.integrations.mux.create_asset end)"
    result = asyncio.run(run_script(stubs, script, Grants.parse(["mux:read"])))
    assert result.result[0] is False
    assert not stubs.mux_faults.seen
