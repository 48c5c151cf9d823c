"""Erasing payloads where the archive is: what Redis has of the runs, then the archive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from core.clock import now_ms
from core.errors import Invalid, Unavailable
from core.ids import is_id
from core.redis_client import connect
from core.settings import Settings
from ledger.archive import ErasableArchive
from ledger.archives import create_objects, named_place, objects_at
from ledger.erasing import Erased, Wish, erase
from ledger.lock import sequencers_at_rest
from ledger.sqlite_archive import NAME, SqliteArchive
from runs.erasing import forget_batches, forget_runs, forget_scripts, rewrite_log, still_there
from tenancy.tenants import check_tenant

if TYPE_CHECKING:
    from redis import Redis

_AGE = re.compile(r"([1-9][0-9]{0,4})([dh])")
_MS = {"d": 86_400_000, "h": 3_600_000}


def wish_of(run: str | None, older_than: str | None, tenant: str | None) -> Wish:
    """
    Read what the command line asks for.

    Raises:
        Invalid: nothing, too much, or no run, age or tenant.
    """
    if tenant is not None:
        check_tenant(tenant)
    if run is not None:
        if older_than is not None or tenant is not None:
            raise Invalid("--run stands alone")
        if not is_id(run, "run"):
            raise Invalid("a run id is `run_` and 26 characters of base 32")
        return Wish(run=run)
    if older_than is not None:
        age = _AGE.fullmatch(older_than)
        if age is None:
            raise Invalid("an age is a number of days or hours: `90d`, `12h`")
        before_ms = now_ms() - int(age[1]) * _MS[age[2]]
        return Wish(tenant=tenant or "", before_ms=before_ms)
    if tenant is None:
        raise Invalid("say what to erase: --run, --older-than or --tenant")
    return Wish(tenant=tenant)


def in_words(wish: Wish) -> str:
    """Say what would be erased."""
    if wish.run:
        return wish.run
    whose = f"tenant {wish.tenant}" if wish.tenant else "all tenants"
    if wish.before_ms is None:
        return f"{whose}, and destroy its data key"
    return f"the older runs of {whose}"


def open_writer(place: Path, settings: Settings) -> ErasableArchive:
    """
    Open an archive of either kind to erase in it.

    Raises:
        Invalid: there is none at this place. Unavailable: it cannot be written.
    """
    if (place / NAME).is_file():
        return SqliteArchive(place / NAME, write=True)
    if objects_at(place) is not None:
        return create_objects(named_place(place), settings.ledger_dir)
    raise Invalid(f"there is no archive at {place}")


def erase_payloads(wish: Wish, archive: ErasableArchive, redis_url: str | None) -> tuple[str, bool]:
    """
    Erase; give what to tell, and whether nothing of a tenant is left in Redis.

    Raises:
        NotFound, Unavailable, Outrun: as `ledger.erasing.erase`; or Redis could not be brought to
            write its append-only file anew. Erasing again is harmless.
    """
    if redis_url is None:
        with closing(archive):
            return _told(erase(archive, wish, now_ms(), lambda _: None)), True
    left = 0

    def forget(erased: Erased) -> None:
        nonlocal left
        left = _forget(redis, wish, erased)

    with closing(archive), _redis(redis_url) as redis:
        resting = partial(sequencers_at_rest, redis)
        told = _told(erase(archive, wish, now_ms(), forget, resting))
        if left:
            told += f"; {left} runs or batches have not ended, or are not archived yet"
            told += ": erase again then"
        rewrite_log(redis, told)
    return told, not left


def _told(erased: Erased) -> str:
    return f"erased {erased.payloads} payloads of {len(erased.runs)} runs"


@contextmanager
def _redis(url: str) -> Iterator[Redis]:
    try:
        with connect(url) as redis:
            yield redis
    except RedisError as error:
        raise Unavailable(
            f"Redis does not do its part: {error}",
            hint="what was erased by then stays erased; erase again",
        ) from error


def _forget(redis: Redis, wish: Wish, erased: Erased) -> int:
    forget_runs(redis, erased.runs)
    forget_scripts(redis, erased.scripts)
    if wish.scope != "tenant":
        return 0
    return still_there(redis, wish.tenant) + forget_batches(redis, wish.tenant)
