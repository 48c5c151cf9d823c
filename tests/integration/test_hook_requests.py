"""The address of a hook: what can be read reaches the script unchanged, all else is refused."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.ids import new_id
from tests.deadline import Deadline
from tests.hook_events import BODY, SECRET, SIGN, Service, send
from triggers.receiving import MAX_EVENT_BYTES
from triggers.verification import github
from triggers.verification.schemes import Scheme


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
    hook_service: Service, body: bytes, content_type: str, data: object, text: str | None
) -> None:
    """JSON and forms are read, anything else that is text stays text; nothing changes a value."""
    hook = hook_service.hook(Scheme.HMAC)
    answer = send(
        hook_service, hook, body, SIGN[Scheme.HMAC](body), **{"Content-Type": content_type}
    )
    assert answer.status_code == 202, answer.text
    event = hook_service.input_of(answer.json()["run"])

    assert (event["data"], event.get("text")) == (data, text)


def test_a_hook_may_give_the_body_alone(hook_service: Service) -> None:
    """With `input` `body` the script gets what was sent and nothing around it."""
    hook = hook_service.hook(Scheme.HMAC, input="body", priority="high")
    run = send(hook_service, hook, BODY, SIGN[Scheme.HMAC](BODY)).json()["run"]

    assert hook_service.input_of(run) == json.loads(BODY)
    assert hook_service.client.get(f"/v1/runs/{run}").json()["priority"] == "high"


def test_bodies_that_cannot_be_taken_are_said_to_be(hook_service: Service) -> None:
    """Too large, compressed, no text, too deep: each with its status, and nothing is started."""
    hook = hook_service.hook(Scheme.HMAC)
    sign = SIGN[Scheme.HMAC]
    huge = b'"' + b"x" * MAX_EVENT_BYTES + b'"'
    assert send(hook_service, hook, huge, sign(huge)).status_code == 413
    nearly = b'"' + b"x" * (MAX_EVENT_BYTES - 2) + b'"'
    assert send(hook_service, hook, nearly, sign(nearly)).status_code == 413
    odd = b"\xff\xfe\x00"
    assert send(hook_service, hook, odd, sign(odd)).status_code == 422
    deep = b"[" * 200 + b"]" * 200
    assert send(hook_service, hook, deep, sign(deep)).status_code == 422
    abyss = b"[" * 300_000 + b"]" * 300_000
    assert send(hook_service, hook, abyss, sign(abyss)).status_code in {202, 422}
    gzip = send(hook_service, hook, BODY, sign(BODY), **{"Content-Encoding": "gzip"})
    assert gzip.status_code == 415
    form = b"&".join(b"a%d=1" % n for n in range(2_000))
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert send(hook_service, hook, form, sign(form), **kind).status_code == 422


def test_a_repeated_header_on_the_wire_is_refused(hook_service: Service) -> None:
    """Two signatures in two headers, one of them good: readers differ, so neither counts."""
    hook = hook_service.hook(Scheme.GITHUB)
    good = github.sign(SECRET, BODY).decode()
    for pair in ((good, "sha256=0"), ("sha256=0", good), (good, good)):
        lines = [f"POST {hook['path']} HTTP/1.1", "Host: x", f"Content-Length: {len(BODY)}"]
        lines += [f"X-Hub-Signature-256: {one}" for one in pair]
        with socket.create_connection(("127.0.0.1", hook_service.api.port), 10) as line:
            line.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + BODY)
            answer = b"".join(iter(lambda: line.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 401 "), answer
    assert hook_service.runs() == []


def test_a_sender_that_leaves_within_its_body_is_no_error_of_ours(
    hook_service: Service, deadline: Deadline
) -> None:
    """Anybody can do that: it is one line of the log, as each request is, and no trace."""
    hook = hook_service.hook(Scheme.GITHUB)
    ends = (("Content-Length: 9", b"{"), ("Transfer-Encoding: chunked", b"no length\r\n"))
    with capture_logs() as logged:

        def told() -> list[
            MutableMapping[str, Any]
        ]:  # the line of an earlier request may come late
            return [one for one in logged if one.get("path") in {None, hook["path"]}]

        for length, begun in ends:
            lines = [f"POST {hook['path']} HTTP/1.1", "Host: x", length, "", ""]
            with socket.create_connection(("127.0.0.1", hook_service.api.port), 10) as line:
                line.sendall("\r\n".join(lines).encode() + begun)
        deadline.until(lambda: len(told()) >= len(ends), "the ends of the requests")
    assert [(one["event"], one["log_level"], one.get("status")) for one in told()] == [
        ("request", "info", 0)
    ] * len(ends)


def test_ids_that_are_no_hook_answer_alike(hook_service: Service) -> None:
    """Unknown, malformed, deleted: one answer, before the body is looked at."""
    gone = hook_service.hook(Scheme.HMAC)
    assert hook_service.client.delete(gone["path"]).status_code == 204
    answers = [
        send(hook_service, {"path": f"/v1/hooks/{one}"}, BODY, SIGN[Scheme.HMAC](BODY)).json()
        for one in (gone["id"], new_id("hok"), "hok_x", "x", "%00", "hok_" + "z" * 500)
    ]
    for answer in answers:
        del answer["request_id"]
        assert answer == answers[0]
    assert answers[0]["code"] == "not_found"


def test_slack_gets_its_challenge_only_when_it_signed(hook_service: Service) -> None:
    """The answer to `url_verification` starts nothing; unsigned it is a 401 like all else."""
    hook = hook_service.hook(Scheme.SLACK)
    body = b'{"type":"url_verification","challenge":"abc123","token":"x"}'
    answer = send(hook_service, hook, body, SIGN[Scheme.SLACK](body))
    assert (answer.status_code, answer.json()) == (200, {"challenge": "abc123"})
    assert send(hook_service, hook, body, {}).status_code == 401
    assert hook_service.runs() == []


def test_random_requests_start_nothing(hook_service: Service) -> None:
    """Whatever comes to the door unsigned, it is a refusal with a problem document."""
    hooks = [hook_service.hook(scheme) for scheme in Scheme]
    for hook in hooks:
        for _ in range(10):
            body = secrets.token_bytes(secrets.randbelow(300))
            answer = send(
                hook_service, hook, body, {"Mux-Signature": "t=1,v1=2", "X-Signature": "x"}
            )
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
    assert hook_service.runs() == []
