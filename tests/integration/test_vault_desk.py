"""Questions about vaults through Redis: sealed both ways, done once, and never too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

import tenancy.desk
from core import keys
from core.errors import Broken, Conflict, Invalid, NotFound, QuotaExceeded, Unavailable
from core.redis_client import connect_async
from core.tasks import end_tasks
from integrations.accounts import AccountsFile
from tenancy.desk import MAX_OPEN, Desk, Do
from tenancy.envelope import VaultDamaged
from tenancy.master_keys import MasterKeys, new_line
from tenancy.sealing_key import SealingKey, open_sealed
from tenancy.vault import Vault
from tests.deadline import Deadline
from tests.shipped import CATALOG
from worker.vault_desk import VaultDesk

pytestmark = pytest.mark.anyio
OLD, NEW = new_line("old"), new_line("new")
MUX = {"token_id": "id", "token_secret": "canary-desk-secret"}


def masters_of(*lines: str) -> MasterKeys:
    """Give master keys."""
    return MasterKeys.parse("\n".join(lines or (OLD,)))


def desk_of(redis: Redis, line: str = OLD) -> Desk:
    """Give the API's side."""
    return Desk(redis, SealingKey.of_masters(masters_of(line)))


@asynccontextmanager
async def answering(
    url: str, *lines: str, kind: type[VaultDesk] = VaultDesk
) -> AsyncIterator[Vault]:
    """Answer as a worker does."""
    masters = masters_of(*lines)
    async with connect_async(url) as redis:
        vault = Vault(redis, masters)
        desk = kind(redis, vault, masters, AccountsFile({}), CATALOG)
        task = asyncio.create_task(desk.run())
        try:
            yield vault
        finally:
            await end_tasks(task)


async def ask_set(desk: Desk, tenant: str = "acme", **more: str) -> Any:
    """Ask for one account to be set."""
    return await desk.ask(Do.SET, tenant, "mux", "default", MUX | more)


async def question_in(redis: Redis) -> str:
    """Wait for a question and give its key."""
    found: Any = await Deadline().reached(lambda: redis.keys("ms:vault-ask:*"), "the question")
    return str(found[0].decode())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a second for answers."""
    monkeypatch.setattr(tenancy.desk, "WAIT_S", 1)


async def test_a_worker_checks_all_again(redis_async: Redis, redis_url: str) -> None:
    """Whoever asks past the API's checks gets no address, name or tenant that is not a tenant's."""
    desk = desk_of(redis_async)
    async with answering(redis_url) as vault:
        with pytest.raises(Invalid, match="fixed"):
            await ask_set(desk, base_url="https://evil.example")
        values = {"deploy_key": "k", "deployment_url": "https://169.254.169.254"}
        with pytest.raises(Invalid, match="must match"):
            await desk.ask(Do.SET, "acme", "convex", "default", values)
        with pytest.raises(NotFound):
            await desk.ask(Do.SET, "acme", "evil", "default", MUX)
        with pytest.raises(Invalid):
            await desk.ask(Do.SET, "acme", "mux", "list_assets", MUX)
        with pytest.raises(Invalid):
            await ask_set(desk, "a:b")
        await vault.set("acme", "mux", "default", MUX)
        with pytest.raises(Conflict):
            await ask_set(desk)
        assert [one["set_by"] for one in await desk.ask(Do.LIST, "acme")] == ["operator"]


async def test_nothing_of_a_question_is_readable_in_redis(redis_async: Redis) -> None:
    """Without the master key neither what is asked nor for whom can be read; nor by another."""
    asking = asyncio.create_task(ask_set(desk_of(redis_async)))
    name = await question_in(redis_async)
    sealed = await redis_async.get(name)
    assert isinstance(sealed, bytes)
    for text in (b"canary", b"acme"):
        assert text not in sealed
    place = ("ask", name.rpartition(":")[2])
    question = open_sealed(masters_of(), "old", sealed, place)
    assert question["values"] == MUX
    wrong = [
        (masters_of("old:" + NEW[4:]), "old", sealed, place),
        (masters_of(NEW), "old", sealed, place),
        (masters_of(), "old", sealed, ("ask", "ask_other")),
        (masters_of(), "old", sealed[:-1] + bytes([sealed[-1] ^ 1]), place),
        (masters_of(), "old", sealed[:40], place),
        (masters_of(), "old", b"", place),
    ]
    for arguments in wrong:
        with pytest.raises(VaultDamaged):
            open_sealed(*arguments)
    await end_tasks(asking)


async def test_a_question_that_nobody_answers_changes_nothing(
    redis_async: Redis, short: None
) -> None:
    """Whoever asked is told so after a while."""
    with pytest.raises(Unavailable, match="nothing was changed"):
        await ask_set(desk_of(redis_async))


async def test_a_forged_answer_is_not_believed(redis_async: Redis, redis_url: str) -> None:
    """Who can write to Redis cannot answer in a worker's place."""
    asking = asyncio.create_task(desk_of(redis_async).ask(Do.LIST, "acme"))
    name = await question_in(redis_async)
    ask_id = name.rpartition(":")[2]
    async with connect_async(redis_url) as other:
        await other.rpush(keys.vault_answer(ask_id), b"\x01" + bytes(60))
    with pytest.raises(Broken):
        await asking


async def test_garbage_and_old_questions_do_not_stop_the_desk(
    redis_async: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    """What does not open, is of another time or shape is passed over; the next is answered."""
    key = SealingKey.of_masters(masters_of())
    late = {"do": "list", "tenant": "acme", "integration": "", "account": "", "values": {}}
    async with answering(redis_url):
        for number, body in enumerate(
            (b"garbage", key.seal([], ("ask", "q1")), key.seal({**late}, ("ask", "q2")))
        ):
            await redis_async.set(keys.vault_question(f"q{number}"), body)
            await redis_async.rpush(keys.vault_questions("old"), f"q{number}")
        monkeypatch.setattr(tenancy.desk, "now_ms", lambda: 1)
        with pytest.raises(Unavailable, match="not known"):
            await ask_set(desk_of(redis_async))
        monkeypatch.undo()
        assert await desk_of(redis_async).ask(Do.LIST, "acme") == []


class Breaks(VaultDesk):
    """Does what is asked and breaks before it answers."""

    async def _answered(self, question: dict[str, Any]) -> dict[str, Any]:
        await super()._answered(question)
        raise RuntimeError(str(question))


async def test_an_answer_that_is_lost_is_told_as_not_known(
    redis_async: Redis, redis_url: str, short: None, caplog: pytest.LogCaptureFixture
) -> None:
    """It was done and nobody said so: the words do not deny it, and no log has the question."""
    async with answering(redis_url, kind=Breaks) as vault:
        with pytest.raises(Unavailable, match="not known"):
            await ask_set(desk_of(redis_async))
        assert len(await vault.accounts("acme")) == 1
    assert "canary" not in caplog.text


async def test_a_question_is_done_once(redis_async: Redis, redis_url: str) -> None:
    """Several workers, one question each time: versions are those of single writes."""
    desk = desk_of(redis_async)
    async with answering(redis_url), answering(redis_url) as vault:
        for version in range(1, 6):
            assert (await ask_set(desk))["version"] == version
        assert [one.version for one in await vault.accounts("acme")] == [5]


async def test_sealing_keys_follow_the_rotation(redis_async: Redis, redis_url: str) -> None:
    """While workers have both master keys, questions sealed for either are answered."""
    async with answering(redis_url, NEW, OLD):
        assert (await ask_set(desk_of(redis_async, OLD)))["version"] == 1
        assert (await ask_set(desk_of(redis_async, NEW)))["version"] == 2


async def test_a_tenant_cannot_hold_all_connections(
    redis_async: Redis, redis_url: str, short: None
) -> None:
    """Beyond its own few questions a tenant is refused at once, another one is not."""
    desk = desk_of(redis_async)
    asking = [asyncio.create_task(ask_set(desk)) for _ in range(MAX_OPEN)]
    await asyncio.sleep(0)
    with pytest.raises(QuotaExceeded):
        await ask_set(desk)
    with pytest.raises(Unavailable):
        await ask_set(desk, "globex")
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in found} == {Unavailable}


async def test_without_a_sealing_key_the_vault_is_off(redis_async: Redis) -> None:
    """Said plainly, and nothing is sent anywhere."""
    with pytest.raises(Unavailable, match="off"):
        await ask_set(Desk(redis_async, None))
    assert await redis_async.keys("*") == []


@pytest.mark.parametrize(
    "line",
    [
        *("", "x", "x:", "x:AAAA"),
        pytest.param("X:" + OLD[4:], id="capital"),
        pytest.param(":" + OLD[4:], id="nameless"),
    ],
)
def test_a_malformed_sealing_key_stops_the_start(line: str) -> None:
    """The API does not start with a key that seals for nobody."""
    with pytest.raises(Invalid, match="SEALING_KEY"):
        SealingKey.parse(line)


def test_the_public_half_is_not_the_key() -> None:
    """What the API is given does not contain, and is not, the master key."""
    line = SealingKey.of_masters(masters_of()).line()
    assert SealingKey.parse(line).line() == line
    assert line != OLD
