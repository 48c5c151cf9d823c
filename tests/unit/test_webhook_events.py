"""What a delivery says of its event: its one id, a bounded kind, and Slack's own challenge."""

from __future__ import annotations

import re

import pytest

from tests.signed_deliveries import BODY, Headers
from triggers.verification import slack
from triggers.verification.delivery import Delivery, SignatureRefused
from triggers.verification.schemes import Scheme, event_id, event_type


@pytest.mark.parametrize(
    ("scheme", "headers", "body", "known"),
    [
        (Scheme.MUX, [], {"id": "evt_1"}, "evt_1"),
        (Scheme.STRIPE, [], {"id": "evt_2"}, "evt_2"),
        (Scheme.SLACK, [], {"event_id": "Ev1", "id": "no"}, "Ev1"),
        (Scheme.STANDARD, [("webhook-id", "msg_1")], {"id": "no"}, "msg_1"),
        (Scheme.GITHUB, [("x-github-delivery", "d-1")], {"id": "no"}, "d-1"),
        (Scheme.MUX, [], {"id": 7}, "7"),
    ],
)
def test_an_event_is_known_by_its_own_id(
    scheme: Scheme, headers: Headers, body: object, known: str
) -> None:
    """Each scheme has its place for the id of an event."""
    assert event_id(scheme, Delivery(headers, BODY), body) == known


@pytest.mark.parametrize("body", [None, [], "x", {}, {"id": None}, {"id": True}, {"id": "x" * 257}])
def test_an_event_without_an_id_is_known_by_its_body(body: object) -> None:
    """No id, or none that can be one: the same bytes are the same event, others are another."""
    one = event_id(Scheme.MUX, Delivery([], BODY), body)

    assert re.fullmatch(r"sha256:[0-9a-f]{64}", one)
    assert one == event_id(Scheme.MUX, Delivery([], BODY), None)
    assert one != event_id(Scheme.MUX, Delivery([], BODY + b" "), body)
    assert one == event_id(Scheme.HMAC, Delivery([], BODY), {"id": "not looked at"})


def test_a_hook_may_say_where_the_id_is() -> None:
    """A header, a field, or the body in place of the scheme's own."""
    delivery = Delivery([("x-id", "h"), ("x-github-delivery", "d")], BODY)

    assert event_id(Scheme.HMAC, delivery, {"n": "f"}, "header:X-Id") == "h"
    assert event_id(Scheme.HMAC, delivery, {"n": "f"}, "field:n") == "f"
    assert event_id(Scheme.GITHUB, delivery, {}, "body").startswith("sha256:")
    with pytest.raises(SignatureRefused):
        event_id(Scheme.HMAC, Delivery([("x-id", "1"), ("x-id", "2")], b""), {}, "header:X-Id")


def test_kinds_of_events_are_found() -> None:
    """The kind is read where the scheme has it, and is bounded."""
    github_event = Delivery([("x-github-event", "push")], b"")

    assert event_type(Scheme.GITHUB, github_event, {"type": "no"}) == "push"
    assert event_type(Scheme.MUX, Delivery([], b""), {"type": "video.asset.ready"}) == (
        "video.asset.ready"
    )
    assert event_type(Scheme.SLACK, Delivery([], b""), {"event": {"type": "message"}}) == "message"
    assert event_type(Scheme.SLACK, Delivery([], b""), {"type": "event_callback"}) == (
        "event_callback"
    )
    assert event_type(Scheme.STRIPE, Delivery([], b""), {"type": "x" * 999}) == "x" * 128
    assert event_type(Scheme.STRIPE, Delivery([], b""), [1]) is None


def test_slack_is_told_its_challenge() -> None:
    """Only the event that asks for it gives a challenge, and only text of a sensible length."""
    assert slack.challenge_of({"type": "url_verification", "challenge": "abc"}) == "abc"
    others: list[object] = [
        {"type": "event_callback", "challenge": "abc"},
        {"type": "url_verification"},
        {"type": "url_verification", "challenge": 1},
        {"type": "url_verification", "challenge": "x" * 513},
        [],
        None,
    ]
    for body in others:
        assert slack.challenge_of(body) is None
