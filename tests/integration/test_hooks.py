"""Inbound webhooks over HTTP: a good signature starts a run, once; nothing else starts anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from core import keys
from core.clock import now_ms
from core.ids import new_id
from runs.redis_scripts import load
from tests.hook_events import ALL, BODY, SECRET, SIGN, Service, now_text, save_script, send
from tests.mux_vector import MUX_BODY, MUX_HEADER, MUX_SECRET
from triggers.receiving import KNOWN_S
from triggers.verification import timed_list
from triggers.verification.schemes import Scheme


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_signed_event_starts_the_saved_script_with_it(
    hook_service: Service, scheme: Scheme
) -> None:
    """202 at once, with the run; its record says which hook, its input has the event."""
    hook = hook_service.hook(scheme)
    answer = send(hook_service, hook, BODY, SIGN[scheme](BODY))

    assert answer.status_code == 202, answer.text
    taken = answer.json()
    assert (taken["received"], taken["repeated"]) == (True, False)
    run = hook_service.client.get(f"/v1/runs/{taken['run']}").json()
    assert run["origin"] == {"kind": "hook", "id": hook["id"]}
    assert run["script_ref"] == "job@1"
    event = hook_service.input_of(taken["run"])
    assert event["data"] == json.loads(BODY)
    assert event["hook"] == hook["id"]
    assert abs(event["received_ms"] - now_ms()) < 60_000
    known = {
        Scheme.GITHUB: ("d-1", "push"),
        Scheme.STANDARD: ("msg_1", "thing.made"),
        Scheme.HMAC: (event["id"], "thing.made"),
    }.get(scheme, ("evt_7", "thing.made"))
    assert (event["id"], event["type"]) == known
    assert hook_service.shown(hook)["started"] == 1


@pytest.mark.parametrize("scheme", list(Scheme))
def test_an_event_that_comes_again_starts_nothing_more(
    hook_service: Service, scheme: Scheme
) -> None:
    """The same event is known for a week: 200 with the run that it started."""
    hook, headers = hook_service.hook(scheme), SIGN[scheme](BODY)
    first = send(hook_service, hook, BODY, headers).json()
    again = send(hook_service, hook, BODY, headers)

    assert again.status_code == 200
    assert again.json() == {"received": True, "repeated": True, "run": first["run"]}
    assert len(hook_service.runs()) == 1
    (event,) = hook_service.redis.keys(f"{keys.hook_events(hook['id'])}*")
    assert KNOWN_S - 60 < hook_service.redis.ttl(event) <= KNOWN_S
    shown = hook_service.shown(hook)
    assert (shown["started"], shown["repeated"], shown["refused"]) == (1, 1, 0)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_one_changed_byte_is_refused_with_401(hook_service: Service, scheme: Scheme) -> None:
    """Nothing is started, and the refusal says what is wrong, not with which secret."""
    hook, headers = hook_service.hook(scheme), SIGN[scheme](BODY)
    for changed in (BODY.replace(b"1.50", b"1.51"), BODY + b" ", BODY[:-1], b""):
        answer = send(hook_service, hook, changed, headers)
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "signature_refused"
        assert SECRET not in answer.text
    assert hook_service.runs() == []
    shown = hook_service.shown(hook)
    assert shown["refused"] == 4
    assert shown["last_refusal"] == "the signature does not match the body"


def test_the_mux_vector_is_accepted_at_its_time_and_old_now(hook_service: Service) -> None:
    """The published vector is genuine but of 2023: signed anew it starts a run, as it is 401."""
    hook = hook_service.hook(Scheme.MUX, secret=MUX_SECRET)
    refused = send(hook_service, hook, MUX_BODY, {"Mux-Signature": MUX_HEADER})
    assert (refused.status_code, "300 s are allowed" in refused.json()["detail"]) == (401, True)
    now = now_text()
    fresh = {"Mux-Signature": f"t={now},v1={timed_list.sign(MUX_SECRET, now, MUX_BODY).decode()}"}
    assert send(hook_service, hook, MUX_BODY, fresh).status_code == 202
    assert send(hook_service, hook, MUX_BODY, fresh).status_code == 200
    one_byte = MUX_BODY.replace(b"ready", b"reads")
    assert send(hook_service, hook, one_byte, fresh).status_code == 401
    assert len(hook_service.runs()) == 1


def test_twenty_at_the_same_moment_start_one_run(hook_service: Service) -> None:
    """Whoever comes first decides which run it is; all of them are told of that one."""
    hook, headers = hook_service.hook(Scheme.STRIPE), SIGN[Scheme.STRIPE](BODY)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: send(hook_service, hook, BODY, headers), range(20)))

    assert {one.status_code for one in answers} <= {200, 202}
    assert len({one.json()["run"] for one in answers}) == 1
    assert len(hook_service.runs()) == 1


def test_an_event_whose_run_was_decided_and_not_accepted_is_started(hook_service: Service) -> None:
    """Failed: the API died before the run was accepted; sent again, the event starts that run."""
    hook = hook_service.hook(Scheme.STANDARD)
    run = new_id("run")
    _decide(hook_service, hook, "msg_1", run, started=False)
    answer = send(hook_service, hook, BODY, SIGN[Scheme.STANDARD](BODY))

    assert (answer.status_code, answer.json()["run"]) == (202, run)
    assert [one["id"] for one in hook_service.runs()] == [run]


def test_an_event_whose_run_was_accepted_and_not_noted_starts_no_other(
    hook_service: Service,
) -> None:
    """Failed but it had happened: the run is there, the note is not; no second run begins."""
    hook, headers = hook_service.hook(Scheme.STANDARD), SIGN[Scheme.STANDARD](BODY)
    run = send(hook_service, hook, BODY, headers).json()["run"]
    _decide(hook_service, hook, "msg_1", run, started=True, undone=True)
    answer = send(hook_service, hook, BODY, headers)

    assert answer.json()["run"] == run
    assert [one["id"] for one in hook_service.runs()] == [run]
    assert send(hook_service, hook, BODY, headers).json()["repeated"] is True


def _decide(
    hook_service: Service,
    hook: Mapping[str, Any],
    event: str,
    run: str,
    *,
    started: bool,
    undone: bool = False,
) -> None:
    if undone:
        (key,) = hook_service.redis.keys(f"{keys.hook_events(hook['id'])}*")
        hook_service.redis.set(key, f"0 {run}")
        return

    digest = hashlib.sha256(event.encode()).hexdigest()[:32]
    args = [hook["id"], digest, run, KNOWN_S, int(started)]
    assert load("hook_event").run(hook_service.redis, args) is None


def test_a_hook_that_is_off_or_cannot_start_says_so_to_its_sender(hook_service: Service) -> None:
    """409 after a good signature only; why it cannot start is told to its owner."""
    hook = hook_service.hook(Scheme.HMAC)
    hook_service.client.patch(hook["path"], json={"enabled": False})
    off = send(hook_service, hook, BODY, SIGN[Scheme.HMAC](BODY))
    assert (off.status_code, off.json()["detail"]) == (409, "this hook is switched off")
    assert send(hook_service, hook, BODY, {}).status_code == 401
    hook_service.client.patch(hook["path"], json={"enabled": True})
    owner = hook_service.shown(hook)["key_id"]
    records: Any = hook_service.redis.hgetall(keys.KEYS)
    for digest, record in records.items():
        if orjson.loads(record)["id"] == owner:
            weak = {**orjson.loads(record), "scopes": ["runs:read"]}
            hook_service.redis.hset(keys.KEYS, digest, orjson.dumps(weak))
    reader = hook_service.api.new_key("acme", ALL)
    refused = send(hook_service, hook, BODY, SIGN[Scheme.HMAC](BODY))
    assert (refused.status_code, owner in refused.text) == (409, False)
    with hook_service.api.client(Authorization=f"Bearer {reader}") as client:
        shown = client.get(hook["path"]).json()
    assert "lacks the scope runs:write" in shown["last_refusal"]
    assert hook_service.redis.exists(keys.tenant_runs("acme")) == 0


def test_an_event_that_the_script_does_not_take_is_refused_and_can_come_again(
    hook_service: Service, redis_url: str
) -> None:
    """422 tells the sender; after the script takes it, the same event starts its run."""
    schema = {"type": "object", "required": ["never"]}
    save_script(redis_url, "acme", name="picky", script="return 1", input_schema=schema)
    hook = hook_service.hook(Scheme.STANDARD, script_ref="picky")
    headers = SIGN[Scheme.STANDARD](BODY)
    assert send(hook_service, hook, BODY, headers).status_code == 422
    save_script(redis_url, "acme", name="picky", script="return 2")
    assert send(hook_service, hook, BODY, headers).status_code == 202
    assert send(hook_service, hook, BODY, headers).status_code == 200


def test_another_source_of_the_id_decides_what_is_the_same_event(hook_service: Service) -> None:
    """A header, a field or the body; without one the same bytes are the same event."""
    by_field = hook_service.hook(Scheme.HMAC, event_id="field:n")
    by_header = hook_service.hook(Scheme.HMAC, event_id="header:X-Id")
    sign = SIGN[Scheme.HMAC]
    one, other = b'{"n":1,"x":1}', b'{"n":1,"x":2}'
    assert send(hook_service, by_field, one, sign(one)).status_code == 202
    assert send(hook_service, by_field, other, sign(other)).status_code == 200
    for name, status in (("a", 202), ("b", 202), ("a", 200)):
        answer = send(hook_service, by_header, one, sign(one), **{"X-Id": name})
        assert answer.status_code == status


def test_nobody_gets_anothers_rights_by_changing_a_hook(hook_service: Service) -> None:
    """Whoever changes what a hook starts, or can sign for it, gives it their own key's rights."""
    other = hook_service.api.new_key("acme", ALL)
    with hook_service.api.client(Authorization=f"Bearer {other}") as client:
        mine = client.get("/v1/keys/current").json()["id"]
        for change in ("change", "secret"):
            hook = hook_service.hook(Scheme.HMAC)
            assert hook["key_id"] != mine
            if change == "change":
                client.patch(hook["path"], json={"script_ref": "job@1"})
            else:
                client.post(f"{hook['path']}/secrets", json={})
            assert hook_service.shown(hook)["key_id"] == mine
            body = b'{"of":"%s"}' % change.encode()
            run = send(hook_service, hook, body, SIGN[Scheme.HMAC](body)).json()["run"]
            assert hook_service.redis.hget(keys.run(run), "key_id") == mine.encode()
