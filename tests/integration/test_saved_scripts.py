"""Saved scripts: versions never change, aliases move, and what is started is what was saved."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from redis.asyncio import Redis

from core import keys
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded, Unavailable
from core.ids import new_id
from runs.origin import Origin, OriginKind
from runs.store import RunStore
from tenancy.keys import KeyStore
from tenancy.scopes import Scope
from triggers import scripts as scripts_module
from triggers.input_schema import InputMismatch
from triggers.refs import Ref
from triggers.saved import ScriptDraft, ScriptVersion, check_draft
from triggers.scripts import SavedScripts, ScriptMissing
from triggers.starting import KeyUnfit, Starter, run_id_of

pytestmark = pytest.mark.anyio
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def scripts(redis_async: Redis) -> SavedScripts:
    """The saved scripts of an empty Redis."""
    return SavedScripts(redis_async)


async def save(
    scripts: SavedScripts, script: str = "return 1", tenant: str = "acme", **more: Any
) -> tuple[ScriptVersion, bool]:
    """Save a version of `job`."""
    draft = ScriptDraft(**{"name": "job", "script": script, **more})
    return await scripts.save(tenant, check_draft(draft), key_id="key_1")


async def test_a_version_is_given_as_it_was_saved_for_ever(
    scripts: SavedScripts, redis_async: Redis
) -> None:
    """What is saved later changes no earlier version, and none of it has a time to live."""
    first, _ = await save(scripts, limits={"calls": 3}, grants=["mux:read"], input_schema=SCHEMA)
    second, _ = await save(scripts, "return 2")

    kept = await scripts.resolve("acme", Ref.parse("job@1"))
    assert (kept.version, kept.text) == (first, b"return 1")
    assert (first.limits, first.grants, first.input_schema) == ({"calls": 3}, ["mux:read"], SCHEMA)
    assert (first.version, second.version) == (1, 2)
    assert first.script_sha256 == hashlib.sha256(b"return 1").hexdigest()
    for key in await redis_async.keys("ms:saved*"):
        assert await redis_async.ttl(key) == -1


async def test_what_equals_the_newest_version_is_that_version(scripts: SavedScripts) -> None:
    """Saving twice saves once; whoever saves at the same time as others gets a number of theirs."""
    first, new = await save(scripts, note="a")
    again, new_again = await save(scripts, note="b")
    assert (first, new, new_again) == (again, True, False)

    made = await asyncio.gather(*(save(scripts, f"return {n}") for n in range(20)))
    assert sorted(version.version for version, _ in made) == list(range(2, 22))


async def test_a_ref_means_a_version_an_alias_or_the_newest(scripts: SavedScripts) -> None:
    """A number stays what it is; an alias means what it was moved to; a name means the newest."""
    await save(scripts, alias="prod")
    await save(scripts, "return 2")

    async def text(ref: str) -> bytes:
        return (await scripts.resolve("acme", Ref.parse(ref))).text

    assert await text("job") == await text("job@latest") == await text("job@2") == b"return 2"
    assert await text("job@prod") == b"return 1"
    await scripts.set_alias("acme", "job", "prod", 2)
    assert await text("job@prod") == b"return 2"
    await scripts.set_alias("acme", "job", "prod", None)
    with pytest.raises(ScriptMissing) as missing:
        await text("job@prod")
    assert missing.value.hint == "its aliases: none"


@pytest.mark.parametrize("ref", ["job@3", "job@nobody", "other", "other@1"])
async def test_what_is_not_there_is_said(scripts: SavedScripts, ref: str) -> None:
    """A missing script, version or alias is a wrong value of the request, with its pointer."""
    await save(scripts, alias="prod")
    with pytest.raises(ScriptMissing) as missing:
        await scripts.resolve("acme", Ref.parse(ref))
    assert missing.value.pointer == "/script_ref"
    assert "there is no saved script" in str(missing.value) or "job has no" in str(missing.value)


@pytest.mark.parametrize(
    "ref",
    [
        *(
            "",
            "@1",
            "Job",
            "job@0",
            "job@-1",
            "job@01",
            "job@Prod",
            "job@a@b",
            "a:b",
            "a/b",
            "../x",
        ),
        *("job@99999999999", "x" * 65, "-a", "a-", "job@1.0", "job\n", "job@prod\n", "j\u00f6b"),
    ],
)
def test_what_is_no_ref_is_refused(ref: str) -> None:
    """Nothing else becomes part of a key."""
    with pytest.raises(Invalid):
        Ref.parse(ref)


async def test_an_alias_means_a_version_and_nothing_else(scripts: SavedScripts) -> None:
    """An alias cannot mean an alias, so that none leads to itself; `latest` is none."""
    await save(scripts)
    with pytest.raises(Invalid, match="no version 7"):
        await scripts.set_alias("acme", "job", "prod", 7)
    for wrong in ("latest", "1", "prod@x"):
        with pytest.raises(Invalid):
            await scripts.set_alias("acme", "job", wrong, 1)


@pytest.mark.parametrize("ref", ["job", "job@prod"])
async def test_what_moves_while_it_is_looked_up_is_found(redis_async: Redis, ref: str) -> None:
    """The version that a ref meant may be deleted before it is read: it means another by then."""

    class Moving(SavedScripts):
        moves = 3

        async def number_of(self, tenant: str, ref: Ref) -> int:
            number = await super().number_of(tenant, ref)
            if self.moves:
                self.moves -= 1
                await save(self, f"return -{self.moves}", alias="prod")
                await self.delete(tenant, "job", number)
            return number

    scripts = Moving(redis_async)
    await save(scripts, alias="prod")
    assert (await scripts.resolve("acme", Ref.parse(ref))).text == b"return -0"
    scripts = Moving(redis_async)
    scripts.moves = 10**9
    with pytest.raises(Unavailable):
        await scripts.resolve("acme", Ref.parse(ref))


async def test_another_tenants_script_is_no_script(scripts: SavedScripts) -> None:
    """Nothing of one tenant is seen, changed or deleted by another."""
    await save(scripts, alias="prod")
    with pytest.raises(ScriptMissing):
        await scripts.resolve("other", Ref.parse("job"))
    with pytest.raises(NotFound):
        await scripts.get("other", "job")
    with pytest.raises(NotFound):
        await scripts.set_alias("other", "job", "prod", 1)
    with pytest.raises(NotFound):
        await scripts.delete("other", "job")
    assert await scripts.page("other", after=None, limit=10) == ([], None)


async def test_no_number_is_given_twice(scripts: SavedScripts, redis_async: Redis) -> None:
    """A script that was deleted and saved anew goes on counting; its bytes are given back."""
    await save(scripts)
    await save(scripts, "return 2")
    await scripts.delete("acme", "job")
    assert await redis_async.get(keys.saved_bytes("acme")) == b"0"
    version, _ = await save(scripts, "return 3")
    assert version.version == 3
    with pytest.raises(ScriptMissing):
        await scripts.resolve("acme", Ref.parse("job@1"))


async def test_a_version_in_use_is_not_deleted(scripts: SavedScripts, redis_async: Redis) -> None:
    """Neither the newest nor one that an alias means; any other is, and its bytes are free."""
    await save(scripts, alias="prod")
    await save(scripts, "return 2")
    before = int(await redis_async.get(keys.saved_bytes("acme")) or 0)
    for number in (1, 2):
        with pytest.raises(Conflict):
            await scripts.delete("acme", "job", number)
    await scripts.set_alias("acme", "job", "prod", 2)
    await scripts.delete("acme", "job", 1)
    assert int(await redis_async.get(keys.saved_bytes("acme")) or 0) < before
    assert [one.version for one in (await scripts.versions("acme", "job", below=None, limit=9))[0]]
    with pytest.raises(NotFound):
        await scripts.delete("acme", "job", 1)


async def test_lists_are_paged_without_gaps(scripts: SavedScripts) -> None:
    """Scripts by name, versions newest first."""
    for name in ("c", "a", "b"):
        await save(scripts, name=name)
    found, cursor = await scripts.page("acme", after=None, limit=2)
    rest, end = await scripts.page("acme", after=cursor, limit=2)
    assert [one.name for one in (*found, *rest)] == ["a", "b", "c"]
    assert end is None
    for n in range(4):
        await save(scripts, f"return {n + 2}", name="a")
    newest, below = await scripts.versions("acme", "a", below=None, limit=3)
    older, end_of_versions = await scripts.versions("acme", "a", below=below, limit=3)
    assert [one.version for one in (*newest, *older)] == [5, 4, 3, 2, 1]
    assert end_of_versions is None


async def test_a_tenant_keeps_so_much_and_no_more(
    scripts: SavedScripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each bound is told as a quota; what was saved before stays usable."""
    await save(scripts, alias="one")
    for bound in ("MAX_VERSIONS", "MAX_BYTES"):
        monkeypatch.setattr(scripts_module, bound, 1)
        with pytest.raises(QuotaExceeded):
            await save(scripts, "return 2")
        monkeypatch.undo()
    for bound in ("MAX_SCRIPTS", "MAX_NAMES"):
        monkeypatch.setattr(scripts_module, bound, 1)
        with pytest.raises(QuotaExceeded):
            await save(scripts, name="another")
        monkeypatch.undo()
    monkeypatch.setattr(scripts_module, "MAX_ALIASES", 1)
    with pytest.raises(QuotaExceeded):
        await save(scripts, alias="two")
    await save(scripts, "return 2", alias="one")


# --- starting -----------------------------------------------------------------------------------


async def key_of(redis: Redis, *scopes: Scope) -> str:
    """Make a key of `acme`."""
    _, record = await KeyStore(redis).create("acme", "owner", scopes=scopes or (Scope.WRITE,))
    return record.id


async def test_a_saved_script_is_started_once(
    scripts: SavedScripts, store: RunStore, redis_async: Redis
) -> None:
    """What runs is the text of the version; the same id again is the same run."""
    await save(scripts, limits={"calls": 3}, grants=["mux:read"], input_schema=SCHEMA)
    key_id, source = await key_of(redis_async), new_id("sch")
    origin = Origin(kind=OriginKind.SCHEDULE, id=source)
    starter = Starter(redis_async, store)

    async def start() -> Any:
        run_id = run_id_of(source, "fire", 1_000)
        return await starter.start(
            "acme", "job", {"n": 1}, origin=origin, key_id=key_id, run_id=run_id
        )

    first, second = await asyncio.gather(start(), start())
    assert first == second
    assert (first.script_ref, first.name, first.origin) == ("job@1", "job@1", origin)
    assert (first.limits["calls"], first.grants) == (3, ["mux:read"])
    assert await redis_async.get(keys.script(first.script_sha256)) == b"return 1"
    assert len((await store.page("acme"))[0]) == 1


async def test_an_input_is_held_to_the_schema(
    scripts: SavedScripts, store: RunStore, redis_async: Redis
) -> None:
    """Nothing is accepted; each wrong value is told with its pointer."""
    await save(scripts, input_schema=SCHEMA)
    key_id = await key_of(redis_async)
    with pytest.raises(InputMismatch) as wrong:
        await Starter(redis_async, store).start(
            "acme", "job", {"n": "1"}, origin=None, key_id=key_id
        )
    assert [pointer for pointer, _ in wrong.value.errors] == ["/input/n"]
    assert (await store.page("acme"))[0] == []


async def test_a_key_that_is_gone_starts_nothing(
    scripts: SavedScripts, store: RunStore, redis_async: Redis
) -> None:
    """Revoked, expired, without the scope, or another tenant's: no run."""
    await save(scripts)
    at_ms = 10**13
    starter = Starter(redis_async, store, clock=lambda: at_ms)
    reader = await key_of(redis_async, Scope.READ)
    revoked = await key_of(redis_async)
    await KeyStore(redis_async).revoke("acme", revoked)
    _, expired = await KeyStore(redis_async).create("acme", "brief", expires_ms=at_ms)
    _, foreign = await KeyStore(redis_async).create("other", "foreign")
    for key_id in (reader, revoked, expired.id, foreign.id, new_id("key")):
        with pytest.raises(KeyUnfit):
            await starter.start("acme", "job", None, origin=None, key_id=key_id)
    assert (await store.page("acme"))[0] == []
