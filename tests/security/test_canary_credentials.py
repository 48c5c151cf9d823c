"""A credential planted in an account turns up nowhere but in the request to its vendor."""

from __future__ import annotations

import base64
import logging
import traceback

import orjson
import pytest

from integrations.accounts import Accounts, AccountsFile
from integrations.request import build
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from integrations.vendor_http import NoAnswer, Progress
from sandbox.limits import Limits
from tests.mux_runs import MuxRun, mux_run
from tests.shipped import CATALOG

pytestmark = pytest.mark.anyio
CANARY = "canary/+secret\"'\\é-7f3a"
BASIC = base64.b64encode(f"stub-mux-default-id:{CANARY}".encode()).decode()
ESCAPED = orjson.dumps(CANARY)[1:-1].decode()


def planted(stubs: Stubs) -> Accounts:
    """Give the accounts of the stub with the canary as a secret."""
    toml = stubs.accounts_toml.replace('"stub-mux-default-secret"', '{ env = "CANARY" }')
    return AccountsFile.parse(toml, CATALOG, {"CANARY": CANARY}).for_tenant(None)


def assert_clean(*texts: str) -> None:
    """Fail if any form of the canary stands in a text."""
    for text in texts:
        for form in (CANARY, ESCAPED, BASIC):
            assert form not in text


def everything(run: MuxRun) -> str:
    """Give all that is kept or shown of a run."""
    broker = run.broker
    return repr([run.tape.entries, broker.calls, broker.accounts, broker, broker.surface()])


ECHOES = {
    "in a reply": (200, orjson.dumps({"data": [{"echo": CANARY, CANARY: BASIC}]})),
    "in an error": (
        400,
        orjson.dumps({"error": {"type": f"bad {CANARY}", "messages": [f"Basic {BASIC}", CANARY]}}),
    ),
}


@pytest.mark.parametrize("where", ECHOES)
async def test_a_vendor_that_echoes_it_is_not_heard(
    stubs: Stubs, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the script nor the tape nor a log gets it, whatever the vendor says."""
    caplog.set_level(logging.DEBUG)
    status, body = ECHOES[where]
    echo = {"x-request-id": BASIC}
    stubs.mux_faults.add(Fault("answer", status=status, body=body, headers=echo))
    async with mux_run(stubs, accounts=planted(stubs)) as run:
        reply = await run.answer("mux.list_assets")
        assert_clean(repr(reply), everything(run), caplog.text)
    assert f"Basic {BASIC}" == stubs.mux_faults.seen[0].headers["authorization"]


@pytest.mark.parametrize("kind", ["drop", "refuse", "drop_body", "gzip_bomb", "oversize", "drip"])
async def test_no_failure_shows_it(
    stubs: Stubs,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every way a call can break, reading and writing: clean errors, tape and logs."""
    caplog.set_level(logging.DEBUG)
    fault = Fault.from_json({"kind": kind, "times": 99, "bytes": 8 << 20, "seconds": 0.02})
    stubs.mux_faults.add(fault)
    limits = Limits(wall_ms=500)
    async with mux_run(stubs, accounts=planted(stubs), limits=limits) as run:
        replies = [
            await run.answer("mux.list_assets"),
            await run.answer("mux.create_asset", "https://example.com/v.mp4"),
        ]
        assert_clean(repr(replies), everything(run), caplog.text)


async def test_a_script_that_knows_it_does_not_put_it_on_the_tape(stubs: Stubs) -> None:
    """Previews are searched for it as well, and secret keys in arguments are redacted."""
    settings = {"meta": {"note": CANARY}, "deep": [{"stream_key": "key-canary"}]}
    given = {"passthrough": CANARY, "new_asset_settings": settings}
    async with mux_run(stubs, accounts=planted(stubs)) as run:
        await run.answer("mux.create_live_stream", given)
        preview = run.tape.entries[0].body["preview"]
    assert_clean(preview)
    assert "key-canary" not in preview


@pytest.mark.parametrize("pad", [180, 195, 199, 985, 995])
async def test_no_cut_leaves_half_of_it(stubs: Stubs, pad: int) -> None:
    """Texts are cut after credentials were taken out, never before."""
    text = "x" * pad + CANARY
    body = orjson.dumps({"error": {"type": text, "messages": [text]}})
    stubs.mux_faults.add(Fault("answer", status=400, body=body, times=2))
    async with mux_run(stubs, accounts=planted(stubs)) as run:
        error = await run.error("mux.create_live_stream", {"passthrough": text[:255]})
        preview = run.tape.entries[0].body["preview"]
    assert "canary" not in repr(error)
    assert "canary" not in preview or pad + len(CANARY) > 255


async def test_exceptions_do_not_carry_it(stubs: Stubs) -> None:
    """The chain of an exception of ours has no request in it."""
    stubs.mux_faults.add(Fault("refuse", times=9))
    async with mux_run(stubs, accounts=planted(stubs)) as run:
        broker = run.broker.broker
        pack = broker.catalog.integrations["mux"].pack
        assert pack is not None
        request = build(
            broker.catalog.function("mux", "get_asset"),
            pack,
            {"asset_id": "x"},
            planted(stubs).get("mux", "default"),
        )
        with pytest.raises(NoAnswer) as caught:
            await broker.http.exchange(
                request,
                pack.timeouts,
                within_s=5,
                max_bytes=1000,
                accepts=lambda status: status == 200,
                progress=Progress(),
            )
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert_clean("".join(traceback.format_exception(caught.value)), repr(request))
