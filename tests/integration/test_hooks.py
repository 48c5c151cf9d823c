"""Inbound webhooks over HTTP: a good signature starts a run, once; nothing else starts anything."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx2
import orjson
import pytest
import redis
from structlog.testing import capture_logs

from core import keys
from core.clock import now_ms
from core.ids import new_id
from core.redis_client import connect_async
from core.redis_server import PrivateRedis
from runs.redis_scripts import load
from tenancy.master_keys import new_line
from tenancy.scopes import Scope
from tests.api_server import ApiServer
from tests.canary import MARK
from tests.deadline import Deadline
from tests.mux_vector import MUX_BODY, MUX_HEADER, MUX_SECRET
from triggers.hook_store import MAX_HOOKS
from triggers.receiving import KNOWN_S, MAX_EVENT_BYTES
from triggers.saved import ScriptDraft, check_draft
from triggers.scripts import SavedScripts
from triggers.verification import github, plain_hmac, slack, standard_webhooks, timed_list
from triggers.verification.plain_hmac import PlainHmac
from triggers.verification.schemes import Scheme

SECRET = f"a-secret-{MARK.decode()}-of-some-length"
SIGNED = base64.b64encode(SECRET.encode()).decode()
ALL = (Scope.READ, Scope.WRITE, Scope.TRIGGERS_READ, Scope.TRIGGERS_WRITE)


class Service(NamedTuple):
    """An API with a tenant that has a saved script and a key for everything here."""

    api: ApiServer
    client: httpx2.Client
    redis: redis.Redis

    def hook(self, scheme: Scheme, **terms: Any) -> dict[str, Any]:
        """Make a hook with the usual secret."""
        secret = SIGNED if scheme is Scheme.STANDARD else SECRET
        body = {"name": "test", "script_ref": "job", "scheme": scheme, "secret": secret, **terms}
        answer = self.client.post("/v1/hooks", json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def shown(self, hook: Mapping[str, Any]) -> dict[str, Any]:
        """Give a hook as it is now."""
        found: dict[str, Any] = self.client.get(hook["path"]).json()
        return found

    def input_of(self, run: str) -> Any:
        """Give what the script of a run gets."""
        found: Any = self.redis.hget(keys.run(run), "input")
        return orjson.loads(found)

    def runs(self) -> list[dict[str, Any]]:
        """List the tenant's runs, newest first."""
        listed: list[dict[str, Any]] = self.client.get("/v1/runs").json()["data"]
        return listed


@pytest.fixture(scope="module")
def served(redis_server: PrivateRedis) -> Iterator[ApiServer]:
    """One API, without a worker: a run that is accepted is what counts here."""
    with ApiServer(redis_server.url, trigger_keys=new_line("k1")) as api:
        yield api


@pytest.fixture
def service(served: ApiServer, redis_sync: redis.Redis, redis_url: str) -> Iterator[Service]:
    """The API on an empty Redis."""
    _save(redis_url, "acme", name="job", script="return input")
    key = served.new_key("acme", ALL)
    with served.client(Authorization=f"Bearer {key}") as client:
        yield Service(served, client, redis_sync)


def _save(redis_url: str, tenant: str, **draft: Any) -> None:
    async def save() -> None:
        async with connect_async(redis_url) as redis:
            checked = check_draft(ScriptDraft(**draft))
            await SavedScripts(redis).save(tenant, checked, key_id="key_x")

    asyncio.run(save())


Headers = dict[str, str]


def _now() -> str:
    return str(int(time.time()))


def _timed(header: str) -> Callable[[bytes], Headers]:
    def headers(body: bytes) -> Headers:
        now = _now()
        return {header: f"t={now},v1={timed_list.sign(SECRET, now, body).decode()}"}

    return headers


def _slack(body: bytes) -> Headers:
    now = _now()
    signature = slack.sign(SECRET, now, body).decode()
    return {"X-Slack-Request-Timestamp": now, "X-Slack-Signature": signature}


def _github(body: bytes) -> Headers:
    signature = github.sign(SECRET, body).decode()
    return {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": "d-1", "X-GitHub-Event": "push"}


def _standard(body: bytes) -> Headers:
    now = _now()
    signature = standard_webhooks.sign(SECRET.encode(), "msg_1", now, body).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": now, "webhook-signature": signature}


def _plain(body: bytes) -> Headers:
    return {"X-Signature": plain_hmac.sign(SECRET, body, PlainHmac()).decode()}


SIGN: dict[Scheme, Callable[[bytes], Headers]] = {
    Scheme.MUX: _timed("Mux-Signature"),
    Scheme.STRIPE: _timed("Stripe-Signature"),
    Scheme.SLACK: _slack,
    Scheme.GITHUB: _github,
    Scheme.STANDARD: _standard,
    Scheme.HMAC: _plain,
}


def send(
    service: Service, hook: Mapping[str, Any], body: bytes, headers: Headers, **more: str
) -> httpx2.Response:
    """Send an event as its sender does: without an API key."""
    given = {"Content-Type": "application/json", **headers, **more}
    with service.api.client() as client:
        return client.post(hook["path"], content=body, headers=given)


BODY = b'{"type":"thing.made","id":"evt_7","event_id":"evt_7","n":1.50, "text":"\xc3\xa9"}'


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_signed_event_starts_the_saved_script_with_it(service: Service, scheme: Scheme) -> None:
    """202 at once, with the run; its record says which hook, its input has the event."""
    hook = service.hook(scheme)
    answer = send(service, hook, BODY, SIGN[scheme](BODY))

    assert answer.status_code == 202, answer.text
    taken = answer.json()
    assert (taken["received"], taken["repeated"]) == (True, False)
    run = service.client.get(f"/v1/runs/{taken['run']}").json()
    assert run["origin"] == {"kind": "hook", "id": hook["id"]}
    assert run["script_ref"] == "job@1"
    event = service.input_of(taken["run"])
    assert event["data"] == json.loads(BODY)
    assert event["hook"] == hook["id"]
    assert abs(event["received_ms"] - now_ms()) < 60_000
    known = {
        Scheme.GITHUB: ("d-1", "push"),
        Scheme.STANDARD: ("msg_1", "thing.made"),
        Scheme.HMAC: (event["id"], "thing.made"),
    }.get(scheme, ("evt_7", "thing.made"))
    assert (event["id"], event["type"]) == known
    assert service.shown(hook)["started"] == 1


@pytest.mark.parametrize("scheme", list(Scheme))
def test_an_event_that_comes_again_starts_nothing_more(service: Service, scheme: Scheme) -> None:
    """The same event is known for a week: 200 with the run that it started."""
    hook, headers = service.hook(scheme), SIGN[scheme](BODY)
    first = send(service, hook, BODY, headers).json()
    again = send(service, hook, BODY, headers)

    assert again.status_code == 200
    assert again.json() == {"received": True, "repeated": True, "run": first["run"]}
    assert len(service.runs()) == 1
    (event,) = service.redis.keys(f"{keys.hook_events(hook['id'])}*")
    assert KNOWN_S - 60 < service.redis.ttl(event) <= KNOWN_S
    shown = service.shown(hook)
    assert (shown["started"], shown["repeated"], shown["refused"]) == (1, 1, 0)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_one_changed_byte_is_refused_with_401(service: Service, scheme: Scheme) -> None:
    """Nothing is started, and the refusal says what is wrong, not with which secret."""
    hook, headers = service.hook(scheme), SIGN[scheme](BODY)
    for changed in (BODY.replace(b"1.50", b"1.51"), BODY + b" ", BODY[:-1], b""):
        answer = send(service, hook, changed, headers)
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "signature_refused"
        assert SECRET not in answer.text
    assert service.runs() == []
    shown = service.shown(hook)
    assert shown["refused"] == 4
    assert shown["last_refusal"] == "the signature does not match the body"


def test_the_mux_vector_is_accepted_at_its_time_and_old_now(service: Service) -> None:
    """The published vector is genuine but of 2023: signed anew it starts a run, as it is 401."""
    hook = service.hook(Scheme.MUX, secret=MUX_SECRET)
    refused = send(service, hook, MUX_BODY, {"Mux-Signature": MUX_HEADER})
    assert (refused.status_code, "300 s are allowed" in refused.json()["detail"]) == (401, True)
    now = _now()
    fresh = {"Mux-Signature": f"t={now},v1={timed_list.sign(MUX_SECRET, now, MUX_BODY).decode()}"}
    assert send(service, hook, MUX_BODY, fresh).status_code == 202
    assert send(service, hook, MUX_BODY, fresh).status_code == 200
    one_byte = MUX_BODY.replace(b"ready", b"reads")
    assert send(service, hook, one_byte, fresh).status_code == 401
    assert len(service.runs()) == 1


def test_twenty_at_the_same_moment_start_one_run(service: Service) -> None:
    """Whoever comes first decides which run it is; all of them are told of that one."""
    hook, headers = service.hook(Scheme.STRIPE), SIGN[Scheme.STRIPE](BODY)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: send(service, hook, BODY, headers), range(20)))

    assert {one.status_code for one in answers} <= {200, 202}
    assert len({one.json()["run"] for one in answers}) == 1
    assert len(service.runs()) == 1


def test_an_event_whose_run_was_decided_and_not_accepted_is_started(service: Service) -> None:
    """Failed: the API died before the run was accepted; sent again, the event starts that run."""
    hook = service.hook(Scheme.STANDARD)
    run = new_id("run")
    _decide(service, hook, "msg_1", run, started=False)
    answer = send(service, hook, BODY, SIGN[Scheme.STANDARD](BODY))

    assert (answer.status_code, answer.json()["run"]) == (202, run)
    assert [one["id"] for one in service.runs()] == [run]


def test_an_event_whose_run_was_accepted_and_not_noted_starts_no_other(service: Service) -> None:
    """Failed but it had happened: the run is there, the note is not; no second run begins."""
    hook, headers = service.hook(Scheme.STANDARD), SIGN[Scheme.STANDARD](BODY)
    run = send(service, hook, BODY, headers).json()["run"]
    _decide(service, hook, "msg_1", run, started=True, undone=True)
    answer = send(service, hook, BODY, headers)

    assert answer.json()["run"] == run
    assert [one["id"] for one in service.runs()] == [run]
    assert send(service, hook, BODY, headers).json()["repeated"] is True


def _decide(
    service: Service,
    hook: Mapping[str, Any],
    event: str,
    run: str,
    *,
    started: bool,
    undone: bool = False,
) -> None:
    if undone:
        (key,) = service.redis.keys(f"{keys.hook_events(hook['id'])}*")
        service.redis.set(key, f"0 {run}")
        return

    digest = hashlib.sha256(event.encode()).hexdigest()[:32]
    args = [hook["id"], digest, run, KNOWN_S, int(started)]
    assert load("hook_event").run(service.redis, args) is None


def test_several_secrets_count_until_one_is_removed(service: Service) -> None:
    """While secrets are exchanged both open; afterwards the old one does not."""
    hook = service.hook(Scheme.GITHUB)
    path = hook["path"]
    made = service.client.post(f"{path}/secrets", json={"secret": "another-secret-for-later"})
    assert made.status_code == 201
    assert "secret" not in made.json(), "what was given is shown again"
    for number, secret in enumerate((SECRET, "another-secret-for-later")):
        body = b'{"n":%d}' % number
        headers = {"X-Hub-Signature-256": github.sign(secret, body).decode()}
        assert send(service, hook, body, headers).status_code == 202
    old, new = made.json()["secrets"]
    left = service.client.delete(f"{path}/secrets/{old['id']}")
    assert [one["id"] for one in left.json()["secrets"]] == [new["id"]]
    assert send(service, hook, b"{}", SIGN[Scheme.GITHUB](b"{}")).status_code == 401
    assert service.client.delete(f"{path}/secrets/{old['id']}").status_code == 404
    service.client.delete(f"{path}/secrets/{new['id']}")
    refused = send(service, hook, b"{}", SIGN[Scheme.GITHUB](b"{}"))
    assert (refused.status_code, "no secret" in refused.json()["detail"]) == (401, True)


def test_where_the_sender_makes_the_secret_the_hook_comes_first(service: Service) -> None:
    """A hook for Mux is made without a secret, refuses everything, and gets Mux's own later."""
    body = {"name": "mux", "script_ref": "job", "scheme": "mux"}
    hook = service.client.post("/v1/hooks", json=body).json()
    assert (hook["secrets"], "secret" in hook) == ([], False)
    assert send(service, hook, BODY, SIGN[Scheme.MUX](BODY)).status_code == 401
    none = service.client.post(f"{hook['path']}/secrets", json={})
    assert (none.status_code, none.json()["errors"][0]["pointer"]) == (422, "/secret")
    service.client.post(f"{hook['path']}/secrets", json={"secret": SECRET})
    assert send(service, hook, BODY, SIGN[Scheme.MUX](BODY)).status_code == 202


def test_a_secret_is_made_and_shown_once_where_the_receiver_makes_it(service: Service) -> None:
    """It is in the answer that makes it and in nothing afterwards."""
    body = {"name": "std", "script_ref": "job", "scheme": "standard-webhooks"}
    hook = service.client.post("/v1/hooks", json=body).json()
    secret = hook["secret"]
    assert secret.startswith("whsec_")
    now = _now()
    signature = standard_webhooks.sign(standard_webhooks.key_of(secret), "m1", now, BODY).decode()
    headers = {"webhook-id": "m1", "webhook-timestamp": now, "webhook-signature": signature}
    assert send(service, hook, BODY, headers).status_code == 202
    seen = service.client.get("/v1/hooks").text + service.client.get(hook["path"]).text
    assert secret not in seen
    assert secret.removeprefix("whsec_") not in str(service.redis.hgetall(keys.hook(hook["id"])))


def test_slack_gets_its_challenge_only_when_it_signed(service: Service) -> None:
    """The answer to `url_verification` starts nothing; unsigned it is a 401 like all else."""
    hook = service.hook(Scheme.SLACK)
    body = b'{"type":"url_verification","challenge":"abc123","token":"x"}'
    answer = send(service, hook, body, SIGN[Scheme.SLACK](body))
    assert (answer.status_code, answer.json()) == (200, {"challenge": "abc123"})
    assert send(service, hook, body, {}).status_code == 401
    assert service.runs() == []


@pytest.mark.parametrize(
    ("body", "content_type", "data", "text"),
    [
        (b'{"a":[1,2.5,null]}', "application/json", {"a": [1, 2.5, None]}, None),
        (b'{"a":1}', "text/plain", {"a": 1}, None),
        (b'{"a":1}', "", {"a": 1}, None),
        (b'{"a":1}', "application/x-www-form-urlencoded", {"a": 1}, None),
        (b"123", "application/x-www-form-urlencoded", {"123": ""}, None),
        (b"[1]", "application/vnd.x+json; charset=utf-8", [1], None),
        (b"plain \xc3\xa9", "text/plain", None, "plain \u00e9"),
        (b"", "application/json", None, ""),
        (b'{"a":1,"a":2}', "application/json", None, '{"a":1,"a":2}'),
        (b'{"n":9007199254740993000000}', "application/json", None, '{"n":9007199254740993000000}'),
        (b'{"n":NaN}', "application/json", None, '{"n":NaN}'),
        (
            b"a=1&b=x%20y&a=2&c=",
            "application/x-www-form-urlencoded",
            {"a": ["1", "2"], "b": "x y", "c": ""},
            None,
        ),
        (
            b"payload=%7B%22n%22%3A1%7D",
            "application/x-www-form-urlencoded; charset=utf-8",
            {"payload": {"n": 1}},
            None,
        ),
        (b"\x00\x01", "application/octet-stream", None, "\x00\x01"),
    ],
)
def test_bodies_of_every_kind_reach_the_script(
    service: Service, body: bytes, content_type: str, data: object, text: str | None
) -> None:
    """JSON and forms are read, anything else that is text stays text; nothing changes a value."""
    hook = service.hook(Scheme.HMAC)
    answer = send(service, hook, body, SIGN[Scheme.HMAC](body), **{"Content-Type": content_type})
    assert answer.status_code == 202, answer.text
    event = service.input_of(answer.json()["run"])

    assert (event["data"], event.get("text")) == (data, text)


def test_a_hook_may_give_the_body_alone(service: Service) -> None:
    """With `input` `body` the script gets what was sent and nothing around it."""
    hook = service.hook(Scheme.HMAC, input="body", priority="high")
    run = send(service, hook, BODY, SIGN[Scheme.HMAC](BODY)).json()["run"]

    assert service.input_of(run) == json.loads(BODY)
    assert service.client.get(f"/v1/runs/{run}").json()["priority"] == "high"


def test_bodies_that_cannot_be_taken_are_said_to_be(service: Service) -> None:
    """Too large, compressed, no text, too deep: each with its status, and nothing is started."""
    hook = service.hook(Scheme.HMAC)
    sign = SIGN[Scheme.HMAC]
    huge = b'"' + b"x" * MAX_EVENT_BYTES + b'"'
    assert send(service, hook, huge, sign(huge)).status_code == 413
    nearly = b'"' + b"x" * (MAX_EVENT_BYTES - 2) + b'"'
    assert send(service, hook, nearly, sign(nearly)).status_code == 413
    odd = b"\xff\xfe\x00"
    assert send(service, hook, odd, sign(odd)).status_code == 422
    deep = b"[" * 200 + b"]" * 200
    assert send(service, hook, deep, sign(deep)).status_code == 422
    abyss = b"[" * 300_000 + b"]" * 300_000
    assert send(service, hook, abyss, sign(abyss)).status_code in {202, 422}
    gzip = send(service, hook, BODY, sign(BODY), **{"Content-Encoding": "gzip"})
    assert gzip.status_code == 415
    form = b"&".join(b"a%d=1" % n for n in range(2_000))
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert send(service, hook, form, sign(form), **kind).status_code == 422


def test_a_repeated_header_on_the_wire_is_refused(service: Service) -> None:
    """Two signatures in two headers, one of them good: readers differ, so neither counts."""
    hook = service.hook(Scheme.GITHUB)
    good = github.sign(SECRET, BODY).decode()
    for pair in ((good, "sha256=0"), ("sha256=0", good), (good, good)):
        lines = [f"POST {hook['path']} HTTP/1.1", "Host: x", f"Content-Length: {len(BODY)}"]
        lines += [f"X-Hub-Signature-256: {one}" for one in pair]
        with socket.create_connection(("127.0.0.1", service.api.port), 10) as line:
            line.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + BODY)
            answer = b"".join(iter(lambda: line.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 401 "), answer
    assert service.runs() == []


def test_a_sender_that_leaves_within_its_body_is_no_error_of_ours(
    service: Service, deadline: Deadline
) -> None:
    """Anybody can do that: it is one line of the log, as each request is, and no trace."""
    hook = service.hook(Scheme.GITHUB)
    ends = (("Content-Length: 9", b"{"), ("Transfer-Encoding: chunked", b"no length\r\n"))
    with capture_logs() as logged:
        for length, begun in ends:
            lines = [f"POST {hook['path']} HTTP/1.1", "Host: x", length, "", ""]
            with socket.create_connection(("127.0.0.1", service.api.port), 10) as line:
                line.sendall("\r\n".join(lines).encode() + begun)
        deadline.until(lambda: len(logged) >= len(ends), "the ends of the requests")
    assert [(one["event"], one["log_level"], one.get("status")) for one in logged] == [
        ("request", "info", 0)
    ] * len(ends)


def test_ids_that_are_no_hook_answer_alike(service: Service) -> None:
    """Unknown, malformed, deleted: one answer, before the body is looked at."""
    gone = service.hook(Scheme.HMAC)
    assert service.client.delete(gone["path"]).status_code == 204
    answers = [
        send(service, {"path": f"/v1/hooks/{one}"}, BODY, SIGN[Scheme.HMAC](BODY)).json()
        for one in (gone["id"], new_id("hok"), "hok_x", "x", "%00", "hok_" + "z" * 500)
    ]
    for answer in answers:
        del answer["request_id"]
        assert answer == answers[0]
    assert answers[0]["code"] == "not_found"


def test_a_hook_that_is_off_or_cannot_start_says_so_to_its_sender(service: Service) -> None:
    """409 after a good signature only; why it cannot start is told to its owner."""
    hook = service.hook(Scheme.HMAC)
    service.client.patch(hook["path"], json={"enabled": False})
    off = send(service, hook, BODY, SIGN[Scheme.HMAC](BODY))
    assert (off.status_code, off.json()["detail"]) == (409, "this hook is switched off")
    assert send(service, hook, BODY, {}).status_code == 401
    service.client.patch(hook["path"], json={"enabled": True})
    owner = service.shown(hook)["key_id"]
    records: Any = service.redis.hgetall(keys.KEYS)
    for digest, record in records.items():
        if orjson.loads(record)["id"] == owner:
            weak = {**orjson.loads(record), "scopes": ["runs:read"]}
            service.redis.hset(keys.KEYS, digest, orjson.dumps(weak))
    reader = service.api.new_key("acme", ALL)
    refused = send(service, hook, BODY, SIGN[Scheme.HMAC](BODY))
    assert (refused.status_code, owner in refused.text) == (409, False)
    with service.api.client(Authorization=f"Bearer {reader}") as client:
        shown = client.get(hook["path"]).json()
    assert "lacks the scope runs:write" in shown["last_refusal"]
    assert service.redis.exists(keys.tenant_runs("acme")) == 0


def test_an_event_that_the_script_does_not_take_is_refused_and_can_come_again(
    service: Service, redis_url: str
) -> None:
    """422 tells the sender; after the script takes it, the same event starts its run."""
    schema = {"type": "object", "required": ["never"]}
    _save(redis_url, "acme", name="picky", script="return 1", input_schema=schema)
    hook = service.hook(Scheme.STANDARD, script_ref="picky")
    headers = SIGN[Scheme.STANDARD](BODY)
    assert send(service, hook, BODY, headers).status_code == 422
    _save(redis_url, "acme", name="picky", script="return 2")
    assert send(service, hook, BODY, headers).status_code == 202
    assert send(service, hook, BODY, headers).status_code == 200


def test_another_source_of_the_id_decides_what_is_the_same_event(service: Service) -> None:
    """A header, a field or the body; without one the same bytes are the same event."""
    by_field = service.hook(Scheme.HMAC, event_id="field:n")
    by_header = service.hook(Scheme.HMAC, event_id="header:X-Id")
    sign = SIGN[Scheme.HMAC]
    one, other = b'{"n":1,"x":1}', b'{"n":1,"x":2}'
    assert send(service, by_field, one, sign(one)).status_code == 202
    assert send(service, by_field, other, sign(other)).status_code == 200
    for name, status in (("a", 202), ("b", 202), ("a", 200)):
        answer = send(service, by_header, one, sign(one), **{"X-Id": name})
        assert answer.status_code == status


def test_nobody_gets_anothers_rights_by_changing_a_hook(service: Service) -> None:
    """Whoever changes what a hook starts, or can sign for it, gives it their own key's rights."""
    other = service.api.new_key("acme", ALL)
    with service.api.client(Authorization=f"Bearer {other}") as client:
        mine = client.get("/v1/keys/current").json()["id"]
        for change in ("change", "secret"):
            hook = service.hook(Scheme.HMAC)
            assert hook["key_id"] != mine
            if change == "change":
                client.patch(hook["path"], json={"script_ref": "job@1"})
            else:
                client.post(f"{hook['path']}/secrets", json={})
            assert service.shown(hook)["key_id"] == mine
            body = b'{"of":"%s"}' % change.encode()
            run = send(service, hook, body, SIGN[Scheme.HMAC](body)).json()["run"]
            assert service.redis.hget(keys.run(run), "key_id") == mine.encode()


def test_who_sets_hooks_up_needs_the_scopes_and_sees_only_their_own(service: Service) -> None:
    """Reading and writing are scopes; a hook of another tenant is no hook."""
    hook = service.hook(Scheme.HMAC)
    for scopes, status in (
        ((Scope.READ, Scope.WRITE), 403),
        ((Scope.TRIGGERS_READ,), 403),
        ((Scope.TRIGGERS_WRITE,), 403),
        ((Scope.TRIGGERS_WRITE, Scope.WRITE), 201),
    ):
        key = service.api.new_key("acme", scopes)
        with service.api.client(Authorization=f"Bearer {key}") as client:
            body = {"name": "x", "script_ref": "job", "scheme": "hmac"}
            assert client.post("/v1/hooks", json=body).status_code == status, scopes
    foreign = service.api.new_key("other", ALL)
    with service.api.client(Authorization=f"Bearer {foreign}") as client:
        for one in (hook["id"], new_id("hok")):
            path = f"/v1/hooks/{one}"
            texts = [
                client.get(path),
                client.patch(path, json={"enabled": False}),
                client.delete(path),
                client.post(f"{path}/secrets", json={"secret": SECRET}),
                client.delete(f"{path}/secrets/s1"),
            ]
            assert {answer.status_code for answer in texts} == {404}
            assert {answer.json()["detail"] for answer in texts} == {
                "there is no hook with this id"
            }
        assert client.get("/v1/hooks").json()["data"] == []
    assert service.shown(hook)["enabled"] is True


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scheme": "md5"}, "/scheme"),
        ({"script_ref": "nothing"}, "/script_ref"),
        ({"script_ref": "job@99"}, "/script_ref"),
        ({"script_ref": "../x"}, "/script_ref"),
        ({"name": ""}, "/name"),
        ({"name": "\u0007"}, "/name"),
        ({"secret": "short"}, "/secret"),
        ({"event_id": "cookie:x"}, "/event_id"),
        ({"event_id": "header:a b"}, "/event_id"),
        ({"scheme": "mux", "form": {}}, "/form"),
        ({"form": {"header": "a b"}}, "/form/header"),
        ({"form": {"algorithm": "md5"}}, "/form/algorithm"),
        ({"tolerance_s": 5}, "/tolerance_s"),
        ({"callback": "clb_x"}, "/callback"),
        ({"color": 1}, "/color"),
    ],
)
def test_wrong_terms_are_said_with_their_place(
    service: Service, change: dict[str, object], pointer: str
) -> None:
    """422 with a pointer; no secret is repeated."""
    body = {"name": "x", "script_ref": "job", "scheme": "hmac", "secret": SECRET, **change}
    answer = service.client.post("/v1/hooks", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert SECRET not in answer.text
    assert service.client.get("/v1/hooks").json()["data"] == []


def test_changes_keep_what_they_do_not_name(service: Service) -> None:
    """PATCH changes what it names; the scheme is what a hook is, and stays."""
    hook = service.hook(Scheme.HMAC, event_id="field:n", tolerance_s=60)
    shown = service.client.patch(hook["path"], json={"name": "new", "event_id": None}).json()
    assert (shown["name"], "event_id" in shown, shown["tolerance_s"]) == ("new", False, 60)
    assert service.client.patch(hook["path"], json={"scheme": "mux"}).status_code == 422
    assert service.client.patch(hook["path"], json={"script_ref": "no"}).status_code == 422
    assert service.client.patch(hook["path"], json={"form": {}}).status_code == 200


def test_a_tenant_has_at_most_so_many_hooks(service: Service) -> None:
    """One more is refused with what to do; lists are paged."""
    for _ in range(MAX_HOOKS):
        service.hook(Scheme.HMAC)
    body = {"name": "x", "script_ref": "job", "scheme": "hmac"}
    full = service.client.post("/v1/hooks", json=body)
    assert (full.status_code, "no more are taken" in full.json()["detail"]) == (409, True)
    seen, path = [], "/v1/hooks?limit=30"
    while path:
        answer = service.client.get(path)
        seen += [one["id"] for one in answer.json()["data"]]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert len(set(seen)) == MAX_HOOKS
    assert service.client.get("/v1/hooks?cursor=x").status_code == 422


def test_changes_of_hooks_stand_in_the_ledger(service: Service) -> None:
    """Each making, change and deletion is a leaf with who did it, and without any secret."""
    hook = service.hook(Scheme.HMAC)
    service.client.patch(hook["path"], json={"enabled": False})
    service.client.delete(hook["path"])
    inbox: Any = service.redis.xrange(keys.LEDGER_INBOX)
    leaves = [
        orjson.loads(fields[b"leaf"]) for _, fields in inbox if fields.get(b"kind") == b"leaf"
    ]
    told = [one for one in leaves if one["kind"] == "hook.changed"]
    assert [one["change"] for one in told] == ["created", "changed", "deleted"]
    assert {one["id"] for one in told} == {hook["id"]}


def test_without_trigger_keys_hooks_are_off_and_say_so(
    service: Service, redis_server: PrivateRedis
) -> None:
    """503 with the setting's name; an event for a hook of before is neither taken nor lost."""
    hook = service.hook(Scheme.HMAC)
    with ApiServer(redis_server.url) as api:
        without = Service(api, service.client, service.redis)
        event = send(without, hook, BODY, SIGN[Scheme.HMAC](BODY))
        assert (event.status_code, "Retry-After" in event.headers) == (503, True)
        key = api.new_key("acme", ALL)
        with api.client(Authorization=f"Bearer {key}") as client:
            body = {"name": "x", "script_ref": "job", "scheme": "hmac"}
            answer = client.post("/v1/hooks", json=body)
    assert answer.status_code == 503
    assert "MOONSAND_TRIGGER_KEYS_FILE" in answer.json()["hint"]
    assert send(service, hook, BODY, SIGN[Scheme.HMAC](BODY)).status_code == 202


def test_random_requests_start_nothing(service: Service) -> None:
    """Whatever comes to the door unsigned, it is a refusal with a problem document."""
    hooks = [service.hook(scheme) for scheme in Scheme]
    for hook in hooks:
        for _ in range(10):
            body = secrets.token_bytes(secrets.randbelow(300))
            answer = send(service, hook, body, {"Mux-Signature": "t=1,v1=2", "X-Signature": "x"})
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
    assert service.runs() == []
