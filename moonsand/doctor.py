"""What this machine can do: the jail, Redis, the settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import redis

from core.errors import ServiceError
from core.redis_client import check_server, connect
from core.redis_server import find_server
from core.settings import load_settings
from sandbox.doctor import probe_host


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `remedy` says what to do when it is not ok, else it is empty."""

    area: str
    name: str
    required: bool
    ok: bool
    detail: str
    remedy: str = ""

    def to_json(self) -> dict[str, str | bool]:
        """Give the check as one element of the report."""
        return asdict(self)

    def line(self) -> str:
        """Give the check as one line for people."""
        verdict = "ok" if self.ok else "MISSING" if self.required else "no"
        return f"{verdict:<8} {self.area:<9} {self.name:<20} {self.detail}"


def examine(environ: Mapping[str, str] | None = None) -> list[Check]:
    """Look at everything; nothing on this machine is changed."""
    environ = os.environ if environ is None else environ
    return [*_jail(), *_settings_and_redis(environ)]


def _jail() -> Iterator[Check]:
    for one in probe_host():
        yield Check("jail", one.name, one.required, one.ok, one.detail, one.remedy)


def _settings_and_redis(environ: Mapping[str, str]) -> Iterator[Check]:
    try:
        settings = load_settings(environ)
    except ServiceError as error:
        yield Check("settings", "environment", True, False, error.detail, error.hint or "")
        return
    yield Check("settings", "environment", True, True, settings.environment)
    if settings.redis_url is None:
        yield _private_redis()
        return
    try:
        with connect(settings.redis_url) as client:
            findings = check_server(client, settings.environment)
            told = f"version {client.info('server')['redis_version']}"
    except (ServiceError, redis.RedisError) as error:
        hint = getattr(error, "hint", None) or "is REDIS_URL right?"
        yield Check("redis", "REDIS_URL", True, False, str(error), hint)
        return
    yield Check("redis", "REDIS_URL", True, True, told)
    for finding in findings:
        detail, _, remedy = finding.partition("; ")
        yield Check("redis", "durability", False, False, detail, f"for production, {remedy}")


def _private_redis() -> Check:
    try:
        program = find_server()
    except ServiceError as error:
        return Check("redis", "private server", True, False, error.detail, error.hint or "")
    return Check("redis", "private server", True, True, f"{program.name}, started when needed")
