"""
Redis behind Sentinels: which URL that is, and clients that follow the primary.

`redis+sentinel://[user:password@]host[:port],host[:port].../service[/db]`, or `rediss+sentinel://`
for TLS to Redis. User and password are Redis' own; the Sentinels' stand in the query as
`sentinel_username` and `sentinel_password`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.sentinel import Sentinel

SCHEMES = ("redis+sentinel://", "rediss+sentinel://")
_PORT = 26_379
_TIMES = {"socket_timeout", "socket_connect_timeout"}
_SENTINEL = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the Sentinels are, what they call the service, and how both are connected to."""

    sentinels: list[tuple[str, int]]
    service: str
    options: dict[str, Any] = field(repr=False)
    sentinel_options: dict[str, Any] = field(repr=False)


def is_sentinel(url: str) -> bool:
    """Tell whether a URL names Sentinels."""
    return url.startswith(SCHEMES)


def parse(url: str) -> Place:
    """
    Read a URL.

    Raises:
        ValueError: it is malformed. The message holds nothing of it.
    """
    parts = urlsplit(url)
    account, _, hosts = parts.netloc.rpartition("@")
    path = [unquote(one) for one in parts.path.strip("/").split("/")]
    if not path[0] or len(path) > 2:
        raise ValueError("a URL of Sentinels ends in /service or /service/db")
    options: dict[str, Any] = {"db": int(path[1]) if len(path) > 1 else 0}
    if parts.scheme.startswith("rediss"):
        options["ssl"] = True
    user, _, password = account.partition(":")
    options |= {"username": unquote(user)} if user else {}
    options |= {"password": unquote(password)} if password else {}
    sentinel_options: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query, strict_parsing=True) if parts.query else ():
        if name in _TIMES:
            options[name] = sentinel_options[name] = float(value)
        elif name in _SENTINEL:
            sentinel_options[_SENTINEL[name]] = value
        else:
            raise ValueError("a URL of Sentinels has an option that is not known")
    return Place([_address(one) for one in hosts.split(",")], path[0], options, sentinel_options)


def client_of(url: str, **options: Any) -> redis.Redis:
    """Make a client of the primary; `options` are those of its connections."""
    place = parse(url)
    manager: Any = Sentinel(place.sentinels, sentinel_kwargs=_asking(place, options))  # type: ignore[no-untyped-call]
    options |= place.options
    made = manager.master_for(place.service, redis_class=_Followed, **options)
    assert isinstance(made, redis.Redis)  # noqa: S101 (of the class that was asked for)
    return made


def async_client_of(url: str, **options: Any) -> redis.asyncio.Redis:
    """Make an asyncio client of the primary; `options` are those of its connections."""
    place = parse(url)
    manager: Any = AsyncSentinel(place.sentinels, sentinel_kwargs=_asking(place, options))  # type: ignore[no-untyped-call]
    made = manager.master_for(
        place.service, redis_class=_AsyncFollowed, **{**options, **place.options}
    )
    assert isinstance(made, redis.asyncio.Redis)  # noqa: S101 (of the class that was asked for)
    return made


class _Followed(redis.Redis):
    """Closes its connections to the Sentinels too."""

    def close(self) -> None:
        pool: Any = self.connection_pool
        super().close()
        for one in pool.sentinel_manager.sentinels:
            one.close()


class _AsyncFollowed(redis.asyncio.Redis):
    """Closes its connections to the Sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001
        pool: Any = self.connection_pool
        await super().aclose(close_connection_pool)
        for one in pool.sentinel_manager.sentinels:
            await one.aclose()


def _asking(place: Place, options: dict[str, Any]) -> dict[str, Any]:
    # A Sentinel that is away must not hold up the question to the next one.
    times = {name: options[name] for name in _TIMES if name in options}
    times["socket_timeout"] = times.get("socket_connect_timeout", 1.0)
    return {**times, "retry": options.get("retry"), **place.sentinel_options}


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(_PORT)
    if not host:
        raise ValueError("a URL of Sentinels has an empty host")
    return host.strip("[]"), int(port)
