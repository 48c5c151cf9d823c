"""
Saved scripts in Redis: saved, named by aliases, resolved, deleted.

Runs in: api, scheduler, CLI. Trusts: Redis. Refuses: names of other shapes before they become part
of a key; more than a tenant may keep. May import: stdlib, orjson, redis, core, runs, triggers.

Each change is one script of Redis. They have no time to live: what was saved stays until it is
deleted, and no number of a version is ever given twice, not even after that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from core import keys
from core.clock import Clock, now_ms
from core.errors import Conflict, Invalid, NotFound, QuotaExceeded, Unavailable
from runs.redis_scripts import Arg, load
from runs.store import redis_errors
from tenancy.tenants import check_tenant
from triggers.refs import MAX_VERSION, Ref, check_alias, check_name
from triggers.saved import CheckedScript, Resolved, SavedScript, ScriptVersion

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_SCRIPTS = 1_000  # of a tenant
MAX_NAMES = 10_000  # that a tenant has ever used
MAX_VERSIONS = 1_000  # of one script
MAX_BYTES = 64 * 1024 * 1024  # of a tenant: texts and terms
MAX_ALIASES = 50  # of one script
MAX_PAGE = 100
_MAX_READ = 64  # kept by who resolves again and again; each has at most 256 KiB
_HOUR_S = 3_600
_ATTEMPTS = 8


class SavedScripts:
    """The saved scripts of all tenants. Owns nothing; the connection is its maker's."""

    def __init__(self, redis: Redis, clock: Clock = now_ms) -> None:
        self._redis = redis
        self._clock = clock
        # Versions never change, and no number is given twice: what was read once is right for ever.
        self._read: dict[tuple[str, str, int], Resolved] = {}

    async def save(
        self, tenant: str, checked: CheckedScript, *, key_id: str
    ) -> tuple[ScriptVersion, bool]:
        """
        Keep a new version; what equals the newest one is that, and nothing is written.

        Gives the version, and whether it is new. An alias of the draft means it from now on.

        Raises:
            QuotaExceeded: the tenant has as many scripts, versions, aliases or bytes as it may.
            Unavailable: Redis did not confirm; saving again does no harm.
        """
        check_tenant(tenant)
        at_ms = self._clock()
        terms = orjson.dumps(checked.terms | {"created_ms": at_ms, "created_by": key_id})
        args: list[Arg] = [
            *(tenant, checked.name, at_ms, checked.digest, terms, checked.text),
            *(len(terms) + len(checked.text), checked.alias or ""),
            *(MAX_SCRIPTS, MAX_NAMES, MAX_VERSIONS, MAX_BYTES, MAX_ALIASES),
        ]
        with redis_errors("the script may or may not have been saved; saving again does no harm"):
            what, version = await load("script_save").run_async(self._redis, args)
        if what < 0:
            raise QuotaExceeded(
                _FULL[what], retry_after_s=_HOUR_S, hint="delete scripts or versions of no use"
            )
        return await self._version(tenant, checked.name, version), what == 1

    async def resolve(self, tenant: str, ref: Ref, pointer: str = "/script_ref") -> Resolved:
        """
        Give the version that a ref means now, and its text.

        Raises:
            Invalid: there is no such script, version or alias; the message names what there is.
            Unavailable: Redis does not answer, or others move the ref again and again.
        """
        gone = None
        for _ in range(_ATTEMPTS):
            try:
                number = await self.number_of(tenant, ref)
                return await self._at(tenant, ref, number)
            except _Gone as missing:
                # What an alias meant may be deleted once it means another.
                if ref.pinned or number == gone:
                    raise ScriptMissing(
                        missing.detail, pointer=pointer, hint=missing.hint
                    ) from None
                gone = number
            except NotFound as missing:
                raise ScriptMissing(missing.detail, pointer=pointer, hint=missing.hint) from None
        raise Unavailable(f"{ref} is moved again and again", hint="try again")

    async def number_of(self, tenant: str, ref: Ref) -> int:
        """
        Give the number of the version that a ref means now.

        Raises:
            NotFound: there is no such script or alias. A `version` is not looked up.
            Unavailable: Redis does not answer.
        """
        if ref.version is not None:
            return ref.version
        if ref.alias is None:
            found, known = await self._hget(keys.saved_script(tenant, ref.name), "last"), None
        else:
            found = await self._hget(keys.saved_aliases(tenant, ref.name), ref.alias)
            known = None if found else await self.get(tenant, ref.name)
        if found is None:
            raise _no_script(ref.name) if known is None else _no_alias(ref, known.aliases)
        return int(found)

    async def get(self, tenant: str, name: str) -> SavedScript:
        """
        Give a script, its newest version and its aliases.

        Raises:
            NotFound: the tenant has no such script. Unavailable: Redis does not answer.
        """
        found = await self._heads(tenant, [check_name(name)])
        if not found:
            raise _no_script(name)
        return found[0]

    async def version(self, tenant: str, ref: Ref) -> Resolved:
        """
        Give one version with its text.

        Raises:
            NotFound: there is no such script, version or alias. Unavailable: no answer.
        """
        try:
            return await self.resolve(tenant, ref)
        except ScriptMissing as missing:
            raise NotFound(missing.detail, hint=missing.hint) from None

    async def page(
        self, tenant: str, *, after: str | None, limit: int
    ) -> tuple[list[SavedScript], str | None]:
        """
        List scripts by name, from the one after `after`; give the next cursor, None at the end.

        Raises:
            Invalid: `after` is no name. Unavailable: Redis does not answer.
        """
        low = "-" if after is None else f"({check_name(after, '/cursor')}"
        with redis_errors():
            names: Any = await self._redis.zrangebylex(
                keys.saved_scripts(tenant), low, "+", start=0, num=limit + 1
            )
        shown = [one.decode() for one in names[:limit]]
        more = shown[-1] if len(names) > limit else None
        return await self._heads(tenant, shown), more

    async def versions(
        self, tenant: str, name: str, *, below: int | None, limit: int
    ) -> tuple[list[ScriptVersion], int | None]:
        """
        List versions, newest first, those below the number `below`; give the next cursor.

        Raises:
            NotFound: the tenant has no such script. Unavailable: Redis does not answer.
        """
        check_name(name)
        with redis_errors():
            known = await cast(
                "Awaitable[list[bytes]]", self._redis.hkeys(keys.saved_texts(tenant, name))
            )
        if not known:
            raise _no_script(name)
        top = MAX_VERSION + 1 if below is None else below
        left = sorted((number for number in map(int, known) if number < top), reverse=True)
        shown = left[:limit]
        if not shown:
            return [], None
        with redis_errors():
            rows = await cast(
                "Awaitable[list[bytes | None]]",
                self._redis.hmget(keys.saved_script(tenant, name), [str(one) for one in shown]),
            )
        both = zip(shown, rows, strict=True)
        found = [_read(name, number, terms) for number, terms in both if terms is not None]
        return found, shown[-1] if len(left) > limit else None

    async def set_alias(self, tenant: str, name: str, alias: str, version: int | None) -> None:
        """
        Let an alias mean a version from now on; nothing any more when it is None.

        Raises:
            NotFound: there is no such script or alias. Invalid: no such version.
            QuotaExceeded: the script has `MAX_ALIASES`. Unavailable: Redis did not confirm.
        """
        args = [tenant, check_name(name), check_alias(alias), "" if version is None else version]
        with redis_errors("the alias may or may not have been changed"):
            answer = await load("script_alias").run_async(
                self._redis, [*args, self._clock(), MAX_ALIASES]
            )
        if answer == 0:
            raise _no_script(name)
        if answer == -1:
            raise Invalid(
                f"{name} has no version {version}", pointer="/version", hint=_LIST_VERSIONS
            )
        if answer == -2:
            raise QuotaExceeded(_FULL[-5], retry_after_s=_HOUR_S, hint="delete an alias")
        if answer == -3:
            raise NotFound(f"{name} has no alias {alias}", hint=f"`GET /v1/scripts/{name}`")

    async def delete(self, tenant: str, name: str, version: int | None = None) -> None:
        """
        Delete a script, or one version that is neither the newest nor what an alias means.

        Raises:
            NotFound: there is none. Conflict: the version is in use. Unavailable: not confirmed.
        """
        which = "" if version is None else version
        with redis_errors("the script may or may not have been deleted"):
            answer = await load("script_delete").run_async(
                self._redis, [tenant, check_name(name), which]
            )
        if answer == 0:
            raise _no_script(name) if version is None else _no_version(name, version)
        if answer < 0:
            why = "the newest" if answer == -1 else "what an alias means"
            raise Conflict(
                f"version {version} of {name} is {why}; it stays",
                hint="save a newer one, move the alias, or delete the whole script",
            )

    # --- parts ----------------------------------------------------------------------------------

    async def _at(self, tenant: str, ref: Ref, number: int) -> Resolved:
        known = self._read.get((tenant, ref.name, number))
        # A version that is named by its number was not looked for yet.
        if known is not None and (not ref.pinned or await self._is_kept(tenant, ref, number)):
            return known
        with redis_errors():
            text = await cast(
                "Awaitable[bytes | None]",
                self._redis.hget(keys.saved_texts(tenant, ref.name), str(number)),
            )
        version = await self._version(tenant, ref.name, number)
        if text is None:  # deleted just now
            raise _Gone(f"there is no {ref} any more")
        if len(self._read) >= _MAX_READ:
            self._read.clear()
        self._read[tenant, ref.name, number] = Resolved(version, text)
        return Resolved(version, text)

    async def _hget(self, key: str, field: str) -> bytes | None:
        with redis_errors():
            return await cast("Awaitable[bytes | None]", self._redis.hget(key, field))

    async def _is_kept(self, tenant: str, ref: Ref, number: int) -> bool:
        with redis_errors():
            key = keys.saved_script(tenant, ref.name)
            return bool(await self._redis.hexists(key, str(number)))

    async def _version(self, tenant: str, name: str, number: int) -> ScriptVersion:
        terms = await self._hget(keys.saved_script(tenant, name), str(number))
        if terms is None:
            known = await self._hget(keys.saved_script(tenant, name), "last")
            raise _no_script(name) if known is None else _no_version(name, number)
        return _read(name, number, terms)

    async def _heads(self, tenant: str, names: list[str]) -> list[SavedScript]:
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.hmget(keys.saved_script(tenant, name), ["last", "created_ms", "updated_ms"])
            pipe.hgetall(keys.saved_aliases(tenant, name))
        with redis_errors():
            found = await pipe.execute()
            heads = list(zip(names, found[::2], found[1::2], strict=True))
            pipe = self._redis.pipeline(transaction=False)
            for name, (last, *_), _ in heads:
                pipe.hget(keys.saved_script(tenant, name), last or b"0")
            newest: list[bytes | None] = await pipe.execute()
        return [
            _head(name, [last, *times], aliases, terms)
            for (name, (last, *times), aliases), terms in zip(heads, newest, strict=True)
            if last is not None and terms is not None  # deleted just now
        ]


class ScriptMissing(Invalid):
    """A ref means no saved script of the tenant, or none any more."""


class _Gone(NotFound):
    """The version that a ref meant a moment ago is not there."""


_FULL = {
    -1: f"{MAX_SCRIPTS} scripts are saved, which is all that is allowed",
    -2: f"{MAX_NAMES} names of scripts were used, which is all that is allowed",
    -3: f"the script has {MAX_VERSIONS} versions, which is all that is allowed",
    -4: f"saved scripts have {MAX_BYTES} bytes together, which is all that is allowed",
    -5: f"the script has {MAX_ALIASES} aliases, which is all that is allowed",
}
_LIST_VERSIONS = "`GET /v1/scripts/{name}/versions` lists them"


def _head(
    name: str, head: list[bytes], aliases: Mapping[bytes, bytes], terms: bytes
) -> SavedScript:
    last, created_ms, updated_ms = map(int, head)
    return SavedScript(
        name=name,
        latest=last,
        aliases={alias.decode(): int(means) for alias, means in sorted(aliases.items())},
        created_ms=created_ms,
        updated_ms=updated_ms,
        version=_read(name, last, terms),
    )


def _read(name: str, number: int, terms: bytes) -> ScriptVersion:
    kept: dict[str, Any] = orjson.loads(terms)
    return ScriptVersion(name=name, version=number, **kept)


def _no_script(name: str) -> NotFound:
    return NotFound(f"there is no saved script {name}", hint="GET /v1/scripts lists yours")


def _no_version(name: str, number: int) -> NotFound:
    return _Gone(f"{name} has no version {number}", hint=_LIST_VERSIONS)


def _no_alias(ref: Ref, known: Mapping[str, int]) -> NotFound:
    return NotFound(
        f"{ref.name} has no alias {ref.alias}", hint=f"its aliases: {', '.join(known) or 'none'}"
    )
