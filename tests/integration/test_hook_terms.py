"""Hooks set up over HTTP: by whom, within which bounds, and no secret is shown twice."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from core import keys
from core.ids import new_id
from core.redis_server import PrivateRedis
from tenancy.scopes import Scope
from tests.api_server import ApiServer
from tests.hook_events import ALL, BODY, SECRET, SIGN, Service, now_text, send
from triggers.hook_store import MAX_HOOKS
from triggers.verification import github, standard_webhooks
from triggers.verification.schemes import Scheme


def test_several_secrets_count_until_one_is_removed(hook_service: Service) -> None:
    """While secrets are exchanged both open; afterwards the old one does not."""
    hook = hook_service.hook(Scheme.GITHUB)
    path = hook["path"]
    made = hook_service.client.post(f"{path}/secrets", json={"secret": "another-secret-for-later"})
    assert made.status_code == 201
    assert "secret" not in made.json(), "what was given is shown again"
    for number, secret in enumerate((SECRET, "another-secret-for-later")):
        body = b'{"n":%d}' % number
        headers = {"X-Hub-Signature-256": github.sign(secret, body).decode()}
        assert send(hook_service, hook, body, headers).status_code == 202
    old, new = made.json()["secrets"]
    left = hook_service.client.delete(f"{path}/secrets/{old['id']}")
    assert [one["id"] for one in left.json()["secrets"]] == [new["id"]]
    assert send(hook_service, hook, b"{}", SIGN[Scheme.GITHUB](b"{}")).status_code == 401
    assert hook_service.client.delete(f"{path}/secrets/{old['id']}").status_code == 404
    hook_service.client.delete(f"{path}/secrets/{new['id']}")
    refused = send(hook_service, hook, b"{}", SIGN[Scheme.GITHUB](b"{}"))
    assert (refused.status_code, "no secret" in refused.json()["detail"]) == (401, True)


def test_where_the_sender_makes_the_secret_the_hook_comes_first(hook_service: Service) -> None:
    """A hook for Mux is made without a secret, refuses everything, and gets Mux's own later."""
    body = {"name": "mux", "script_ref": "job", "scheme": "mux"}
    hook = hook_service.client.post("/v1/hooks", json=body).json()
    assert (hook["secrets"], "secret" in hook) == ([], False)
    assert send(hook_service, hook, BODY, SIGN[Scheme.MUX](BODY)).status_code == 401
    none = hook_service.client.post(f"{hook['path']}/secrets", json={})
    assert (none.status_code, none.json()["errors"][0]["pointer"]) == (422, "/secret")
    hook_service.client.post(f"{hook['path']}/secrets", json={"secret": SECRET})
    assert send(hook_service, hook, BODY, SIGN[Scheme.MUX](BODY)).status_code == 202


def test_a_secret_is_made_and_shown_once_where_the_receiver_makes_it(hook_service: Service) -> None:
    """It is in the answer that makes it and in nothing afterwards."""
    body = {"name": "std", "script_ref": "job", "scheme": "standard-webhooks"}
    hook = hook_service.client.post("/v1/hooks", json=body).json()
    secret = hook["secret"]
    assert secret.startswith("whsec_")
    now = now_text()
    signature = standard_webhooks.sign(standard_webhooks.key_of(secret), "m1", now, BODY).decode()
    headers = {"webhook-id": "m1", "webhook-timestamp": now, "webhook-signature": signature}
    assert send(hook_service, hook, BODY, headers).status_code == 202
    seen = hook_service.client.get("/v1/hooks").text + hook_service.client.get(hook["path"]).text
    assert secret not in seen
    assert secret.removeprefix("whsec_") not in str(
        hook_service.redis.hgetall(keys.hook(hook["id"]))
    )


def test_who_sets_hooks_up_needs_the_scopes_and_sees_only_their_own(hook_service: Service) -> None:
    """Reading and writing are scopes; a hook of another tenant is no hook."""
    hook = hook_service.hook(Scheme.HMAC)
    for scopes, status in (
        ((Scope.READ, Scope.WRITE), 403),
        ((Scope.TRIGGERS_READ,), 403),
        ((Scope.TRIGGERS_WRITE,), 403),
        ((Scope.TRIGGERS_WRITE, Scope.WRITE), 201),
    ):
        key = hook_service.api.new_key("acme", scopes)
        with hook_service.api.client(Authorization=f"Bearer {key}") as client:
            body = {"name": "x", "script_ref": "job", "scheme": "hmac"}
            assert client.post("/v1/hooks", json=body).status_code == status, scopes
    foreign = hook_service.api.new_key("other", ALL)
    with hook_service.api.client(Authorization=f"Bearer {foreign}") as client:
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
    assert hook_service.shown(hook)["enabled"] is True


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
    hook_service: Service, change: dict[str, object], pointer: str
) -> None:
    """422 with a pointer; no secret is repeated."""
    body = {"name": "x", "script_ref": "job", "scheme": "hmac", "secret": SECRET, **change}
    answer = hook_service.client.post("/v1/hooks", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert SECRET not in answer.text
    assert hook_service.client.get("/v1/hooks").json()["data"] == []


def test_changes_keep_what_they_do_not_name(hook_service: Service) -> None:
    """PATCH changes what it names; the scheme is what a hook is, and stays."""
    hook = hook_service.hook(Scheme.HMAC, event_id="field:n", tolerance_s=60)
    shown = hook_service.client.patch(hook["path"], json={"name": "new", "event_id": None}).json()
    assert (shown["name"], "event_id" in shown, shown["tolerance_s"]) == ("new", False, 60)
    assert hook_service.client.patch(hook["path"], json={"scheme": "mux"}).status_code == 422
    assert hook_service.client.patch(hook["path"], json={"script_ref": "no"}).status_code == 422
    assert hook_service.client.patch(hook["path"], json={"form": {}}).status_code == 200


def test_a_tenant_has_at_most_so_many_hooks(hook_service: Service) -> None:
    """One more is refused with what to do; lists are paged."""
    for _ in range(MAX_HOOKS):
        hook_service.hook(Scheme.HMAC)
    body = {"name": "x", "script_ref": "job", "scheme": "hmac"}
    full = hook_service.client.post("/v1/hooks", json=body)
    assert (full.status_code, "no more are taken" in full.json()["detail"]) == (409, True)
    seen, path = [], "/v1/hooks?limit=30"
    while path:
        answer = hook_service.client.get(path)
        seen += [one["id"] for one in answer.json()["data"]]
        path = answer.links["next"]["url"] if "next" in answer.links else ""
    assert len(set(seen)) == MAX_HOOKS
    assert hook_service.client.get("/v1/hooks?cursor=x").status_code == 422


def test_changes_of_hooks_stand_in_the_ledger(hook_service: Service) -> None:
    """Each making, change and deletion is a leaf with who did it, and without any secret."""
    hook = hook_service.hook(Scheme.HMAC)
    hook_service.client.patch(hook["path"], json={"enabled": False})
    hook_service.client.delete(hook["path"])
    inbox: Any = hook_service.redis.xrange(keys.LEDGER_INBOX)
    leaves = [
        orjson.loads(fields[b"leaf"]) for _, fields in inbox if fields.get(b"kind") == b"leaf"
    ]
    told = [one for one in leaves if one["kind"] == "hook.changed"]
    assert [one["change"] for one in told] == ["created", "changed", "deleted"]
    assert {one["id"] for one in told} == {hook["id"]}


def test_without_trigger_keys_hooks_are_off_and_say_so(
    hook_service: Service, redis_server: PrivateRedis
) -> None:
    """503 with the setting's name; an event for a hook of before is neither taken nor lost."""
    hook = hook_service.hook(Scheme.HMAC)
    with ApiServer(redis_server.url) as api:
        without = Service(api, hook_service.client, hook_service.redis)
        event = send(without, hook, BODY, SIGN[Scheme.HMAC](BODY))
        assert (event.status_code, "Retry-After" in event.headers) == (503, True)
        key = api.new_key("acme", ALL)
        with api.client(Authorization=f"Bearer {key}") as client:
            body = {"name": "x", "script_ref": "job", "scheme": "hmac"}
            answer = client.post("/v1/hooks", json=body)
    assert answer.status_code == 503
    assert "MOONSAND_TRIGGER_KEYS_FILE" in answer.json()["hint"]
    assert send(hook_service, hook, BODY, SIGN[Scheme.HMAC](BODY)).status_code == 202
