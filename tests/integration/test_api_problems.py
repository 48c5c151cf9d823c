"""Every error over HTTP is a problem that says what is wrong, where, and what was meant."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from api.problems import KNOWN, Problem
from api.strict_json import MAX_BODY_BYTES
from tests.api_server import ApiServer

JSON = {"Content-Type": "application/json"}


def problem_of(answer: httpx2.Response, code: str) -> Problem:
    """Check that an answer is the problem `code`, by every rule, and give it."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(answer.text)
    assert problem.code == code
    assert problem.type == f"/problems/{code}"
    assert problem.status == answer.status_code == KNOWN[code].status
    assert problem.request_id == answer.headers["x-request-id"]
    return problem


def as_bytes(text: str | bytes) -> bytes:
    """Give the bytes of a header's value, which need not be text."""
    return text.encode() if isinstance(text, str) else text


def post(client: httpx2.Client, body: Any) -> httpx2.Response:
    """Submit a body that may be bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/v1/runs", content=content, headers=JSON)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", "not_found"),
        ("GET", "/v1", "not_found"),
        ("GET", "/v1/runs/", "not_found"),
        ("GET", "/docs", "not_found"),
        ("GET", "/problems/none", "not_found"),
        ("GET", "/v1/runs/run_x", "not_found"),
        ("GET", "/v1/runs/..%2f..%2fetc", "not_found"),
        ("GET", "/v1/runs/run_01m82n0cgp1kqadbny0at1k8jv%0d%0aX-Evil:%201", "not_found"),
        ("GET", "/v1/runs/run_01m82n0cgp1kqadbny0at1k8jv%0a", "not_found"),
        ("GET", "/v1/runs/run_01m82n0cgp1kqadbny0at1k8jv%00", "not_found"),
        ("GET", "/v1/runs/%ff%fe", "not_found"),
        ("POST", "/v1/runs/run_x/cancel", "not_found"),
        ("GET", "/v1/runs/run_x/events", "not_found"),
        ("DELETE", "/v1/runs", "method_not_allowed"),
        ("PUT", "/v1/runs/run_x", "method_not_allowed"),
        ("POST", "/healthz", "method_not_allowed"),
        ("GET", "/v1/runs?state=done", "invalid"),
        ("GET", "/v1/runs?limit=0", "invalid"),
        ("GET", "/v1/runs?limit=201", "invalid"),
        ("GET", "/v1/runs?limit=1e2", "invalid"),
        ("GET", "/v1/runs?cursor=x", "invalid"),
        ("GET", "/v1/runs?cursor=" + "x" * 30_000, "invalid"),
        ("GET", "/v1/runs?cursor=%00%ff", "invalid"),
        ("GET", "/v1/runs?cursor=run_01m82n0cgp1kqadbny0at1k8jv%0a", "invalid"),
        ("GET", "/v1/runs?stat=queued", "invalid"),
        ("GET", "/v1/runs?limit=1&limit=2", "invalid"),
        ("GET", "/v1/runs?" + "a&" * 10_000, "invalid"),
        ("X" * 5_000, "/v1/runs", "method_not_allowed"),
        ("OPTIONS", "/v1/runs", "method_not_allowed"),
        ("GET", "/v1/runs/run_01m82n0cgp1kqadbny0at1k8jv?wait=1", "invalid"),
    ],
)
def test_paths_and_parameters(client: httpx2.Client, method: str, path: str, code: str) -> None:
    """Wrong routes, ids, methods and parameters are problems, however strange."""
    answer = client.request(method, path)
    problem = problem_of(answer, code)
    assert len(answer.content) < 2_000
    assert "x-evil" not in answer.headers
    if code == "invalid" and problem.errors:
        assert all(one.parameter for one in problem.errors)


def test_405_lists_all_methods_of_the_route(client: httpx2.Client) -> None:
    """`Allow` names the methods of every route with this path."""
    allow = client.delete("/v1/runs").headers["allow"]
    assert sorted(allow.split(", ")) == ["GET", "POST"]


@pytest.mark.parametrize(
    "value",
    [
        *("", "Bearer", "Basic dTpw", "ms_live_x", "Bearer ms_live_x", "Bearer a b"),
        *("Bearer \u00e9".encode(), b"Bearer \xff", "Bearer " + "x" * 30_000),
    ],
)
def test_a_wrong_key_is_refused(api: ApiServer, redis_url: str, value: str | bytes) -> None:
    """Without one well-formed known key, the answer is 401 with a challenge, on every route."""
    with api.client() as bare:
        for method, path in [
            ("GET", "/v1/runs"),
            ("POST", "/v1/runs"),
            ("GET", "/v1/runs/run_x"),
            ("POST", "/v1/runs/run_x/cancel"),
            ("GET", "/v1/runs/run_x/events"),
            ("GET", "/v1/runs?stat=1"),
        ]:
            answer = bare.request(method, path, headers=[(b"Authorization", as_bytes(value))])
            problem_of(answer, "unauthenticated")
            assert answer.headers["www-authenticate"] == 'Bearer realm="moonsand"'


def test_two_keys_are_refused(api: ApiServer, redis_url: str) -> None:
    """Two Authorization headers are refused even if one is good: proxies may read the other."""
    good = ("Authorization", f"Bearer {api.new_key('acme')}")
    with api.client() as bare:
        answer = bare.get("/v1/runs", headers=[good, ("Authorization", "Bearer x")])
        problem_of(answer, "unauthenticated")


@pytest.mark.parametrize(
    ("body", "pointer", "nearest"),
    [
        ({}, "/script", None),
        ({"script": 1}, "/script", None),
        ({"script": ""}, "/script", None),
        ({"script": "x", "scripts": 1}, "/scripts", "script"),
        ({"script": "x", "Input": 1}, "/Input", "input"),
        ({"script": "x", "a/b~c": 1}, "/a~1b~0c", None),
        ({"script": "x", "wait_s": -1}, "/wait_s", None),
        ({"script": "x", "wait_s": 30.1}, "/wait_s", None),
        ({"script": "x", "wait_s": "1"}, "/wait_s", None),
        ({"script": "x", "wait_s": True}, "/wait_s", None),
        ({"script": "x", "seed": -1}, "/seed", None),
        ({"script": "x", "seed": 2**63 - 1 + 1}, "/seed", None),
        ({"script": "x", "seed": 1.0}, "/seed", None),
        ({"script": "x", "name": ""}, "/name", None),
        ({"script": "x", "name": "a\nb"}, "/name", None),
        ({"script": "x", "name": "a" * 129}, "/name", None),
        ({"script": "x", "name": "\u202e"}, "/name", None),
        ({"script": "x", "grants": "mux"}, "/grants", None),
        ({"script": "x", "grants": ["mux", "Mux:read"]}, "/grants/1", None),
        ({"script": "x", "grants": ["mux"] * 257}, "/grants", None),
        ({"script": "x", "limits": {"cpu": 1}}, "/limits/cpu", "cpu_ms"),
        ({"script": "x", "limits": {"cpu_ms": 1}}, "/limits/cpu_ms", None),
        ({"script": "x", "limits": {"cpu_ms": 10.0}}, "/limits/cpu_ms", None),
        ({"script": "x", "limits": {"cpu_ms": True}}, "/limits/cpu_ms", None),
        ({"script": "x", "limits": {"cpu_ms": 10**18}}, "/limits/cpu_ms", None),
        ({"script": "x", "limits": [1]}, "/limits", None),
        ({"script": "x", "input": 2**63}, "/input", None),
        ([], "", None),
        ("x", "", None),
        (None, "", None),
    ],
)
def test_wrong_values_have_a_pointer(
    client: httpx2.Client, body: Any, pointer: str, nearest: str | None
) -> None:
    """Each wrong value is refused by its pointer, with the nearest name, and nothing is stored."""
    problem = problem_of(post(client, body), "invalid")
    assert problem.errors is not None
    assert (problem.errors[0].pointer, problem.errors[0].nearest) == (pointer, nearest)
    assert client.get("/v1/runs").json()["data"] == []


def test_all_wrong_values_are_told_at_once(client: httpx2.Client) -> None:
    """A body with several mistakes is answered with all of them, to a bounded number."""
    body = {"script": "x", "limits": {"cpu": 1, "cpu_ms": 1}, "grants": ["?"]}
    problem = problem_of(post(client, body), "invalid")
    assert [one.pointer for one in problem.errors or ()] == [
        "/limits/cpu",
        "/limits/cpu_ms",
        "/grants/0",
    ]
    many = {"script": "x", **{f"n{index}": 1 for index in range(60)}}
    answer = post(client, many)
    assert len(problem_of(answer, "invalid").errors or ()) == 20
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff", b'{"script":"x","input":NaN}', b'{"script":"x","script":"y"}'),
        *(b'{"script":"\\ud800"}', b"[" * 100_000, b'{"script":"x","input":1e999}'),
        *(b'{"script":"x","input":' + b"[" * 200 + b"]" * 200 + b"}", b"\x00" * 70_000),
    ],
)
def test_what_is_not_strict_json_is_refused(client: httpx2.Client, body: bytes) -> None:
    """A body that two readers could understand differently is refused whole."""
    answer = post(client, body)
    problem_of(answer, "invalid_json")
    assert len(answer.content) < 1_000


def test_input_deeper_than_its_limit_is_refused(client: httpx2.Client) -> None:
    """The limit `depth` of the run counts for its input, before anything is accepted."""
    body = b'{"script":"x","input":' + b"[" * 65 + b"]" * 65 + b"}"
    assert problem_of(post(client, body), "invalid").errors is not None
    deeper = body[:-1] + b',"limits":{"depth":65}}'
    assert post(client, deeper).status_code == 202


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(client: httpx2.Client, media_type: str | None) -> None:
    """A body must say that it is JSON, so that no web form can submit a run."""
    headers = {"Content-Type": media_type} if media_type else {}
    answer = client.post("/v1/runs", content=b'{"script":"x"}', headers=headers)
    problem_of(answer, "unsupported_media_type")


def test_a_compressed_body_is_refused(client: httpx2.Client) -> None:
    """A compressed body is not unpacked: a small one could become anything."""
    headers = JSON | {"Content-Encoding": "gzip"}
    problem_of(client.post("/v1/runs", content=b"x", headers=headers), "unsupported_media_type")


def test_too_many_bytes(client: httpx2.Client) -> None:
    """Script, input and body each have a most; over it the answer is 413, never a reset."""
    for body in (
        {"script": "-" * 300_000},
        {"script": "\u00e9" * 140_000},
        {"script": "x", "input": "y" * 1_100_000},
        {"script": "x", "input": "y" * (MAX_BODY_BYTES + 1)},
        {"script": "x", "input": "y" * 9_000_000},
    ):
        problem = problem_of(post(client, body), "too_large")
        assert "allowed" in problem.detail
    largest = {"script": "-" * 256 * 1024, "input": "\u00e9" * (512 * 1024 - 1)}
    assert post(client, largest).status_code == 202


def test_bodies_without_a_length_have_the_same_end(client: httpx2.Client) -> None:
    """A chunked body is counted as it comes."""

    def chunks() -> Iterator[bytes]:
        yield b'{"script":"x","input":"'
        for _ in range(50):
            yield b"y" * 65_536
        yield b'"}'

    answer = client.post("/v1/runs", content=chunks(), headers=JSON)
    problem_of(answer, "too_large")


@pytest.mark.parametrize("given", ["abc-1.2_X", "a" * 128])
def test_a_request_id_is_echoed(client: httpx2.Client, given: str) -> None:
    """A caller's own request id comes back in the header and in problems."""
    answer = client.get("/nope", headers={"X-Request-Id": given})
    assert problem_of(answer, "not_found").request_id == given


@pytest.mark.parametrize("given", ["", "a b", "a" * 129, "\u00e9".encode(), '"}{', "a;b", "<x>"])
def test_a_strange_request_id_is_replaced(client: httpx2.Client, given: str | bytes) -> None:
    """An id that could confuse a log or a header is replaced by ours."""
    answer = client.get("/healthz", headers=[(b"X-Request-Id", as_bytes(given))])
    assert answer.headers["x-request-id"].startswith("req_")


def test_answers_are_not_kept_or_guessed_at(client: httpx2.Client) -> None:
    """No cache keeps an answer, no browser guesses its type, and nothing says what serves it."""
    for path in ("/healthz", "/v1/runs", "/nope"):
        headers = client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_every_problem_has_its_page(client: httpx2.Client) -> None:
    """The address in `type` leads to words about that problem, without a key."""
    everything = client.get("/problems").text
    for code, known in KNOWN.items():
        page = client.get(f"/problems/{code}")
        assert page.status_code == 200
        assert known.meaning in page.text
        assert known.meaning in everything


def test_broken_http_does_not_hurt(api: ApiServer, client: httpx2.Client) -> None:
    """What is not HTTP is answered 400 and closed, and the next request is served."""
    for raw in (b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000):
        with socket.create_connection(("127.0.0.1", api.port), timeout=5) as peer:
            peer.sendall(raw)
            assert peer.recv(4096).startswith(b"HTTP/1.1 400")
    assert client.get("/healthz").status_code == 200
