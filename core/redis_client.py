"""
Connecting to Redis, and refusing one that would lose what we promised to keep.

A command is sent at most once: a lost connection is reported to the caller, who knows whether
sending again is harmless. Replies are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import redis
import redis.asyncio
import structlog
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import (
    BusyLoadingError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from core.errors import Unavailable
from core.redis_sentinel import async_client_of, client_of, is_sentinel
from core.redis_server import MINIMUM_VERSION

Environment = Literal["development", "production"]

_CONNECT_S = 5.0
#: An answer that takes longer counts as lost. A command that blocks (`XREAD BLOCK`) must ask for
#: at most two thirds of this.
_ANSWER_S = 15.0
#: Made once: else each connection looks up the library's version in its files.
_DRIVER = DriverInfo()
#: Each command under way has a connection of its own, and each open event stream. redis-py's own
#: bound of 100 would fail calls of a worker with 200 slots.
_MAX_CONNECTIONS = 4_096
_CLOSED = "the connection was closed meanwhile"
#: A server that is loading, was made a replica, or whose disk is full. redis-py has classes for the
#: others, and takes the code away from their texts.
_NO_WRITES = (BusyLoadingError, MasterDownError, OutOfMemoryError, ReadOnlyError)
_NO_WRITES_CODES = ("MISCONF", "NOREPLICAS", "BUSY ")


def connect(url: str) -> redis.Redis:
    """
    Make a client for `redis://`, `rediss://` or `unix://`; nothing is sent before its first use.

    For `redis+sentinel://` it is one of the primary that the Sentinels name; see
    `core.redis_sentinel`.

    Raises:
        Unavailable: the URL is malformed.
    """
    retry = Retry(NoBackoff(), 0)
    try:
        if is_sentinel(url):
            return client_of(url, retry=retry, **_options(url))
        return redis.Redis.from_url(url, retry=retry, **_options(url))
    except ValueError:
        raise _bad_url() from None


def connect_async(url: str) -> redis.asyncio.Redis:
    """
    Make an asyncio client for the URLs that `connect` takes.

    Raises:
        Unavailable: the URL is malformed.
    """
    retry = AsyncRetry(NoBackoff(), 0)
    try:
        if is_sentinel(url):
            client = async_client_of(url, retry=retry, **_options(url))
        else:
            client = redis.asyncio.Redis.from_url(url, retry=retry, **_options(url))
    except ValueError:
        raise _bad_url() from None
    pool: Any = client.connection_pool
    pool.connection_class = _mended(pool.connection_class)
    return client


def check_server(client: redis.Redis, environment: Environment) -> list[str]:
    """
    Check that the server keeps what it is given.

    Returns:
        What is wrong, one sentence each, in development; each is logged as a warning too.

    Raises:
        Unavailable: no answer, or a server too old; in production also any other finding.
    """
    try:
        info: Any = client.info()
    except redis.RedisError as error:
        raise _no_answer(error) from error
    return _judge(info, environment)


async def check_server_async(client: redis.asyncio.Redis, environment: Environment) -> list[str]:
    """Do as `check_server` does, with an asyncio client."""
    try:
        info: Any = await client.info()
    except redis.RedisError as error:
        raise _no_answer(error) from error
    return _judge(info, environment)


def takes_no_writes(error: object) -> bool:
    """
    Tell whether a server that answers has refused a write, and will take it when that has passed.

    It is full, its disk is full, it loads its file, is a replica, or is busy with a script. Nothing
    was written.
    """
    if isinstance(error, _NO_WRITES):
        return True
    return isinstance(error, ResponseError) and str(error).startswith(_NO_WRITES_CODES)


def findings(info: Mapping[str, Any]) -> list[str]:
    """Read the reply of `INFO` and say what would lose data, one sentence each."""
    found = []
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        found.append(
            f"maxmemory-policy is {policy}, so Redis may throw runs away; set it to noeviction"
        )
    if not int(info.get("aof_enabled", 0)):
        found.append("appendonly is off, so a restart loses accepted runs; set appendonly yes")
    return found


@cache
def _mended(given: type[Any]) -> type[Any]:
    """
    Give a class of connections that says of a closed one that it is closed.

    One that was reset while it lay in the pool, as after an outage of the network, has an exception
    and no end of file: redis-py 8.1 takes it for a good one, and uvloop raises a RuntimeError when
    it is written to.
    """

    class Mended(given):  # type: ignore[misc]  # of whichever class the URL asks for
        async def can_read(self) -> bool:
            writer = self._writer
            if writer is not None and writer.transport.is_closing():
                raise RedisConnectionError(_CLOSED)  # the pool makes a new one then
            return bool(await super().can_read())

        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002
            try:
                await super().send_packed_command(command, check_health)
            except RuntimeError as closed:
                raise RedisConnectionError(_CLOSED) from closed

    return Mended


def _judge(info: Mapping[str, Any], environment: Environment) -> list[str]:
    version = str(info.get("redis_version", "0.0"))
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < MINIMUM_VERSION:
        wanted = ".".join(map(str, MINIMUM_VERSION))
        raise Unavailable(f"Redis {version} is too old; {wanted} or newer is needed")
    found = findings(info)
    if found and environment == "production":
        raise Unavailable(
            f"this Redis is not fit for production: {'; '.join(found)}",
            hint="correct its configuration, or set MOONSAND_ENVIRONMENT=development",
        )
    for sentence in found:
        structlog.get_logger(__name__).warning("redis_unfit_for_production", finding=sentence)
    return found


def _options(url: str) -> dict[str, Any]:
    common = {
        "socket_timeout": _ANSWER_S,
        "max_connections": _MAX_CONNECTIONS,
        "driver_info": _DRIVER,
    }
    if url.startswith("unix:"):
        return common
    url.encode("ascii")  # a ValueError here, not deep inside a later connection
    return {
        **common,
        "health_check_interval": 30,
        "socket_connect_timeout": _CONNECT_S,
        "socket_keepalive": True,
    }


def _bad_url() -> Unavailable:
    return Unavailable(
        "the Redis URL is malformed",
        hint="write it as redis://host:6379/0, unix:///path or redis+sentinel://host:26379/service",
    )


def _no_answer(error: redis.RedisError) -> Unavailable:
    return Unavailable(
        f"Redis does not answer ({type(error).__name__})", hint="is REDIS_URL right?"
    )
