"""Addresses of callbacks: public ones alone, over TLS in production, as checked at that moment."""

from __future__ import annotations

import pytest

from core.errors import Invalid
from integrations.vendor_http import VendorHttp
from tests.callback_receiver import receiver
from tests.callback_room import KEYS, Redis, Room, sending
from tests.deadline import Deadline
from triggers.callback_store import CallbackStore
from triggers.callback_url import UrlPolicy


@pytest.fixture
def room(redis_async: Redis, deadline: Deadline) -> Room:
    """An empty Redis with everything on it."""
    return Room.of(redis_async, deadline)


class Names:
    """A name server whose answer changes."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> list[str]:
        """Answer, the last time for ever."""
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00::1", "0.0.0.1"],
)
async def test_names_of_private_addresses_are_not_connected_to(room: Room, address: str) -> None:
    """A public name with a private address, also beside a public one, gets no connection."""
    async with receiver() as got:
        port = got.url.rpartition(":")[2]
        for answer in ([address], ["93.184.216.34", address]):
            http = VendorHttp(resolve=Names(answer))
            async with sending(room.redis, http):
                endpoint, _ = await room.endpoint(f"http://rebound.example:{port}/")
                record = await room.tried(await room.ended(endpoint.id))
                assert (record.log[0].status, record.log[0].error) == (None, "refused_address")

    assert got.got == []


async def test_a_name_that_changes_between_check_and_connection_changes_nothing(
    room: Room,
) -> None:
    """A connection goes to the address that was checked: the name is asked once."""
    names = Names(["192.0.2.1"], ["127.0.0.1"])
    async with receiver() as got, sending(room.redis, VendorHttp(resolve=names)):
        endpoint, _ = await room.endpoint(f"http://rebound.example:{got.url.rpartition(':')[2]}/")
        record = await room.tried(await room.ended(endpoint.id))
        assert record.log[0].error == "refused_address"
        assert got.got == []
        assert names.asked == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:8420/",
        "https://LOCALHOST/",
        "https://127.1.2.3/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://100.64.0.1/",
        "https://[fd00::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://0.0.0.0/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user:pass@example.com/",
        "https://user@example.com/",
        "https://example.com/#fragment",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com/",
        "https://ex\u00e4mple.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com/\r\nX: y",
        "https:///path",
        "https://",
        "https://[::1",
        "//example.com/",
        "example.com",
        "",
        "https://example.com/" + "x" * 2_048,
    ],
)
async def test_addresses_that_may_not_be_called_are_refused(redis_async: Redis, url: str) -> None:
    """In production: TLS, a public host, and no odd parts; also as the address of one run."""
    store = CallbackStore(redis_async, KEYS, UrlPolicy())
    await store.create("acme", "any", None, by="k")
    with pytest.raises(Invalid) as refused:
        await store.create("acme", "x", url, by="k")
    assert refused.value.pointer == "/url"
    with pytest.raises(Invalid) as refused:
        await store.target("acme", url)
    assert refused.value.pointer == "/callback"


async def test_an_address_that_is_no_longer_allowed_is_not_called(room: Room) -> None:
    """What the operator forbids counts for endpoints that were there before."""
    async with receiver() as got, sending(room.redis, policy=UrlPolicy()):
        endpoint, _ = await room.endpoint(got.url)
        record = await room.settled(await room.ended(endpoint.id))
        assert (record.state, record.why) == ("failed", "refused_address")
        assert got.got == []
