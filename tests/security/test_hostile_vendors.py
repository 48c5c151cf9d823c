"""A vendor may answer anything: the worker keeps its memory, its time and its secrets."""

from __future__ import annotations

import resource
import time

import orjson
import pytest

from core.calls import Effect
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from sandbox.limits import Limits
from tests.mux_runs import mux_run

pytestmark = pytest.mark.anyio
GET = "GET /video/v1/assets"


DEEP = b"[" * 900 + b"]" * 900
BODIES = {
    "not JSON": (b"<html>hello</html>", "invalid_reply"),
    "invalid UTF-8": (b'{"data":"\xff\xfe"}', "invalid_reply"),
    "half a surrogate": (b'{"data":"\\ud800"}', "invalid_reply"),
    "NaN": (b'{"data":NaN}', "invalid_reply"),
    "infinite": (b'{"data":1e999}', "invalid_reply"),
    "cut off": (b'{"data":[', "invalid_reply"),
    "far too deep": (b"[" * 100_000, "invalid_reply"),
    "too deep": (DEEP, "reply_too_deep"),
    "one level too deep": (b"[" * 65 + b"]" * 65, "reply_too_deep"),
    "too large": (b'"' + b"x" * (5 << 20) + b'"', "reply_too_large"),
    # Shorter on the wire than as we write it down: each control character takes six bytes.
    "swells": (orjson.dumps("x" * ((4 << 20) - 2)) + b" " * 10, "reply_too_large"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_reply_that_cannot_be_used_is_an_error(stubs: Stubs, name: str) -> None:
    """Whatever the body, the script gets an error of the same shape and the next call works."""
    body, code = BODIES[name]
    stubs.mux_faults.add(Fault("answer", GET, status=200, body=body))
    async with mux_run(stubs) as run:
        error = await run.error("mux.list_assets")
        assert error["code"] == code
        assert len(error["message"]) < 300
        await run.value("mux.list_assets")


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", None),
        (b"null", None),
        (b"5", 5),
        (b'{"data":18446744073709551616}', {"data": 2.0**64}),
        (b"[" * 64 + b"]" * 64, orjson.loads(b"[" * 64 + b"]" * 64)),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
async def test_odd_replies_that_are_json_are_values(
    stubs: Stubs, body: bytes, value: object
) -> None:
    """Nothing about a body is assumed beyond what its pack adds to."""
    stubs.mux_faults.add(Fault("answer", GET, status=200, body=body))
    async with mux_run(stubs) as run:
        assert await run.value("mux.list_assets") == value


@pytest.mark.parametrize("body", [b'{"data":5}', b'{"data":[1,null,"x",[]]}', b"[]", b'"data"'])
async def test_rows_that_are_none_are_left_alone(stubs: Stubs, body: bytes) -> None:
    """Columns are added to objects of a list only."""
    stubs.mux_faults.add(Fault("answer", status=200, body=body))
    async with mux_run(stubs) as run:
        assert await run.value("mux.get_current_user") == orjson.loads(body)


async def test_a_bomb_does_not_go_off(stubs: Stubs) -> None:
    """A reply that inflates a thousandfold is left at the cap: memory stays where it was."""
    stubs.mux_faults.add(Fault("gzip_bomb", GET, bytes=256 << 20))
    async with mux_run(stubs) as run:
        await run.value("mux.list_live_streams")
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        error = await run.error("mux.list_assets")
        after_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert error["code"] == "reply_too_large"
    assert after_kib - before_kib < 32 * 1024


@pytest.mark.parametrize(
    "headers",
    [{"content-encoding": "br"}, {"content-encoding": "gzip"}, {"content-encoding": "gzip, gzip"}],
)
async def test_an_encoding_nobody_asked_for_is_refused(
    stubs: Stubs, headers: dict[str, str]
) -> None:
    """What is not what it says is not guessed at."""
    stubs.mux_faults.add(Fault("answer", GET, status=200, body=b'{"data":1}', headers=headers))
    async with mux_run(stubs) as run:
        assert (await run.error("mux.list_assets"))["code"] == "invalid_reply"


async def test_a_slow_drip_ends_with_the_call(stubs: Stubs) -> None:
    """A byte now and then keeps no call open beyond its whole time."""
    stubs.mux_faults.add(Fault("drip", GET, seconds=0.02))
    began = time.monotonic()
    async with mux_run(stubs, limits=Limits(wall_ms=400)) as run:
        assert (await run.error("mux.list_assets"))["code"] == "timeout"
    assert time.monotonic() - began < 20  # of the 30 s that a call may take


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(stubs: Stubs, status: int) -> None:
    """Credentials go to the host of the account and nowhere else."""
    elsewhere = {"location": "/video/v1/live-streams"}
    stubs.mux_faults.add(Fault("answer", GET, status=status, headers=elsewhere))
    async with mux_run(stubs) as run:
        error = await run.error("mux.list_assets")
    assert (error["code"], error["status"]) == ("redirect_refused", status)
    assert len(stubs.mux_faults.seen) == 1


async def test_a_cookie_is_not_kept(stubs: Stubs) -> None:
    """The pool serves every tenant; nothing of one call goes out with the next."""
    cookie = {"set-cookie": "session=canary; Path=/"}
    stubs.mux_faults.add(Fault("answer", GET, status=200, body=b"{}", headers=cookie))
    async with mux_run(stubs) as run:
        await run.value("mux.list_assets")
        await run.value("mux.list_assets")
    assert [("cookie" in seen.headers) for seen in stubs.mux_faults.seen] == [False, False]


async def test_words_of_the_vendor_are_tamed(stubs: Stubs) -> None:
    """An error message of any length and content becomes one printable line."""
    body = {"error": {"type": "x\r\n\x1b[31m" * 100, "messages": ["\u202eevil\n" * 5000, 5, None]}}
    headers = {"x-request-id": "r" * 5000}
    fault = Fault("answer", GET, status=400, body=orjson.dumps(body), headers=headers)
    stubs.mux_faults.add(fault)
    async with mux_run(stubs) as run:
        error = await run.error("mux.list_assets")
    assert error["message"].isprintable()
    assert error["code"].isprintable()
    assert len(error["message"]) < 1500
    assert len(error["code"]) <= 100
    assert len(error["request_id"]) <= 128


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b'{"error":5}', b'{"error":{"messages":{}}}',
        b'{"error":{"type":null,"messages":[1,2]}}', DEEP, b'{"error":{"type":"","messages":[]}}',
    ],
)  # fmt: skip
async def test_an_error_without_words_is_named_by_its_status(stubs: Stubs, body: bytes) -> None:
    """Whatever an error's body is, the error reads well."""
    stubs.mux_faults.add(Fault("answer", GET, status=404, body=body))
    async with mux_run(stubs) as run:
        error = await run.error("mux.list_assets")
    assert error["message"] == "mux.list_assets: 404 not_found: Not Found"


async def test_a_huge_error_body_is_read_in_part_only(stubs: Stubs) -> None:
    """An error is read for its message; the rest is dropped with the connection."""
    stubs.mux_faults.add(Fault("answer", GET, status=500, body=b"x" * (32 << 20)))
    async with mux_run(stubs) as run:
        error = await run.error("mux.list_assets")
        assert (error["status"], error["code"]) == (500, "http_500")
        assert run.last.effect is Effect.FAILED
        await run.value("mux.list_assets")


async def test_no_proxy_of_the_environment_is_used(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable cannot send credentials through somebody else's machine."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with mux_run(stubs) as run:
        await run.value("mux.list_assets")
