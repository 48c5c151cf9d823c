"""
Which MCP servers there are: a TOML file of the operator.

```toml
[files]                                  # local runs, and the tenant `development`
command = "/usr/bin/files-server"
args = ["--root", "/srv/files"]
env = { API_TOKEN = { env = "FILES_TOKEN" } }

[tenants.acme.tracker]                   # the tenant `acme`
url = "https://tracker.example/mcp"
headers = { Authorization = { file = "/run/secrets/tracker" } }
```
Every error names the key in the file, never a value.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from core.errors import Invalid
from integrations.accounts import DEVELOPMENT, MAX_FILE_BYTES
from integrations.base_url import checked_base_url, is_loopback_url
from integrations.failure import did_you_mean, printable
from integrations.pack import LUA_KEYWORDS
from integrations.secret import Secret

MAX_SERVERS = 64
DEFAULT_TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 600.0
#: Seconds after which the list of tools is looked at again before a call.
DEFAULT_CHECK_S = 1.0
MAX_SECRET_BYTES = 64 * 1024
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TENANT = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
#: Headers that the protocol or HTTP itself sets.
_TAKEN = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length",
    "content-type", "cookie", "host", "mcp-method", "mcp-name", "mcp-protocol-version",
    "mcp-session-id", "te", "transfer-encoding", "upgrade",
})  # fmt: skip
_COMMON = ("enabled", "timeout_s", "check_s")
_HTTP_KEYS = ("url", "headers", "private", *_COMMON)
_STDIO_KEYS = ("command", "args", "env", "cwd", *_COMMON)


@dataclass(frozen=True, slots=True)
class Server:
    """
    One server as configured: with `url`, or with `command` as a process of the worker's.

    `headers` and `env` hold what may be secret. `timeout_s` bounds one call, `check_s` is how long
    a list of tools counts as looked at. `private` lets the URL lead into private networks.
    """

    name: str
    url: str | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict)
    private: bool = False
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, Secret] = field(default_factory=dict)
    cwd: str | None = None
    enabled: bool = True
    timeout_s: float = DEFAULT_TIMEOUT_S
    check_s: float = DEFAULT_CHECK_S

    @property
    def type(self) -> str:
        """Give `http` or `stdio`."""
        return "stdio" if self.url is None else "http"

    @property
    def is_local(self) -> bool:
        """Tell whether the URL leads to this machine itself."""
        return self.url is not None and is_loopback_url(self.url)

    @property
    def endpoint(self) -> str:
        """Give a digest of where the server is: trust in one place is not trust in another."""
        place = [self.url, self.command, list(self.args), self.cwd]
        return hashlib.sha256(orjson.dumps(place)).hexdigest()

    def secrets(self) -> list[str]:
        """Give every text that must not be shown; of a header also the part after its scheme."""
        whole = [one.reveal() for one in (*self.headers.values(), *self.env.values())]
        return list(dict.fromkeys([*whole, *(text.rpartition(" ")[2] for text in whole)]))


class ServersFile:
    """All servers of a file, checked; `for_tenant` gives those of one tenant by name."""

    def __init__(self, tenants: Mapping[str, Mapping[str, Server]]) -> None:
        self._tenants = tenants

    @classmethod
    def load(cls, path: Path, environ: Mapping[str, str] = os.environ) -> Self:
        """
        Read a file.

        Raises:
            Invalid: it can't be read, or something in it is wrong; the message names the key.
        """
        raw = _read(path, MAX_FILE_BYTES, f"MCP servers file {path.name}")
        try:
            document = tomllib.loads(raw.decode())
        except UnicodeDecodeError:
            raise Invalid(f"MCP servers file {path.name}: not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            # The parser may quote what it saw, and that may be half a secret: keep the place only.
            place = re.search(r"at (line \d+, column \d+|end of document)", str(error))
            at = f" {place[0]}" if place else ""
            raise Invalid(f"MCP servers file {path.name}: not TOML{at}") from None
        return cls.of_document(document, environ, name=path.name)

    @classmethod
    def of_document(
        cls, document: dict[str, Any], environ: Mapping[str, str], *, name: str = "servers"
    ) -> Self:
        """
        Take servers from a parsed document; `name` is how errors call its file.

        Raises:
            Invalid: something in it is wrong; the message names the key.
        """
        reader = _Reader(name, environ)
        own = {key: value for key, value in document.items() if key != "tenants"}
        tenants = {DEVELOPMENT: reader.servers(own, ())}
        sections = reader.table(document.get("tenants", {}), ("tenants",))
        for tenant, section in sections.items():
            where = ("tenants", tenant)
            if tenant == DEVELOPMENT or not _TENANT.fullmatch(tenant):
                raise reader.wrong(where, "not a tenant name; the servers of the tenant"
                                   f" `{DEVELOPMENT}` stand at the top of the file")  # fmt: skip
            tenants[tenant] = reader.servers(reader.table(section, where), where)
        return cls(tenants)

    @property
    def tenants(self) -> Mapping[str, Mapping[str, Server]]:
        """Every tenant with servers, and these by name."""
        return self._tenants

    def for_tenant(self, tenant: str | None) -> Mapping[str, Server]:
        """Give the servers of a tenant; None is a local run, which has those of development."""
        return self._tenants.get(tenant or DEVELOPMENT, {})


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as error:
        raise Invalid(f"{what}: {error.strerror}") from None
    if len(raw) > limit:
        raise Invalid(f"{what}: more than {limit} bytes")
    return raw


@dataclass(frozen=True, slots=True)
class _Reader:
    file: str
    environ: Mapping[str, str]

    def wrong(self, where: tuple[str, ...], problem: str) -> Invalid:
        return Invalid(
            f"MCP servers file {self.file}: {printable('.'.join(where), 120)}: {problem}"
        )

    def table(self, value: Any, where: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(where, "must be a table")
        return value

    def servers(self, section: dict[str, Any], where: tuple[str, ...]) -> dict[str, Server]:
        if len(section) > MAX_SERVERS:
            raise self.wrong(where or ("servers",), f"more than {MAX_SERVERS} servers")
        return {
            name: self._server(name, self.table(given, (*where, name)), (*where, name))
            for name, given in section.items()
        }

    def _server(self, name: str, given: dict[str, Any], where: tuple[str, ...]) -> Server:
        if not _NAME.fullmatch(name) or name in LUA_KEYWORDS:
            raise self.wrong(where, "a server's name is up to 32 lower-case letters, digits and _,"
                             " and no Lua keyword")  # fmt: skip
        if ("url" in given) == ("command" in given):
            raise self.wrong(where, "needs either `url` or `command`")
        known = _HTTP_KEYS if "url" in given else _STDIO_KEYS
        for key in given:
            if key not in known:
                near = did_you_mean(key, known)
                raise self.wrong((*where, key), f"unknown.{near} Known: {', '.join(known)}")
        common: dict[str, Any] = {
            "name": name,
            "enabled": self._bool(given.get("enabled", True), (*where, "enabled")),
            "timeout_s": self._seconds(given, "timeout_s", DEFAULT_TIMEOUT_S, 0.1, where),
            "check_s": self._seconds(given, "check_s", DEFAULT_CHECK_S, 0, where),
        }
        if "url" in given:
            return Server(**common, **self._http(given, where))
        return Server(**common, **self._stdio(given, where))

    def _http(self, given: dict[str, Any], where: tuple[str, ...]) -> dict[str, Any]:
        url = self._plain(given["url"], (*where, "url"))
        try:
            url = checked_base_url(url)
        except ValueError as error:
            raise self.wrong((*where, "url"), str(error)) from None
        headers = {}
        for key, value in self.table(given.get("headers", {}), (*where, "headers")).items():
            place = (*where, "headers", key)
            if not _HEADER.fullmatch(key) or key.lower() in _TAKEN:
                raise self.wrong(place, "not a header that can be set here")
            headers[key] = self._secret(value, place)
            if not headers[key].reveal().isascii():
                raise self.wrong(place, "must be ASCII")
        private = self._bool(given.get("private", False), (*where, "private"))
        return {"url": url, "headers": headers, "private": private}

    def _stdio(self, given: dict[str, Any], where: tuple[str, ...]) -> dict[str, Any]:
        command = self._plain(given["command"], (*where, "command"))
        if not command.startswith("/"):
            raise self.wrong((*where, "command"), "must be an absolute path")
        args = given.get("args", [])
        if not isinstance(args, list):
            raise self.wrong((*where, "args"), "must be a list of strings")
        env = {}
        for key, value in self.table(given.get("env", {}), (*where, "env")).items():
            if not _VARIABLE.fullmatch(key):
                raise self.wrong((*where, "env", key), "not the name of a variable")
            env[key] = self._secret(value, (*where, "env", key))
        cwd = given.get("cwd")
        return {
            "command": command,
            "args": tuple(self._plain(one, (*where, "args")) for one in args),
            "env": env,
            "cwd": None if cwd is None else self._plain(cwd, (*where, "cwd")),
        }

    def _bool(self, value: Any, where: tuple[str, ...]) -> bool:
        if not isinstance(value, bool):
            raise self.wrong(where, "must be true or false")
        return value

    def _seconds(
        self, given: dict[str, Any], key: str, default: float, low: float, where: tuple[str, ...]
    ) -> float:
        value = given.get(key, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not low <= value <= MAX_TIMEOUT_S:
            raise self.wrong((*where, key), f"must be {low:g} to {MAX_TIMEOUT_S:g} seconds")
        return float(value)

    def _plain(self, value: Any, where: tuple[str, ...]) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.wrong(where, "must be a text without control characters")
        return value

    def _secret(self, value: Any, where: tuple[str, ...]) -> Secret:
        if isinstance(value, dict):
            value = self._elsewhere(value, where)
        return Secret(self._plain(value.strip() if isinstance(value, str) else value, where))

    def _elsewhere(self, source: dict[str, Any], where: tuple[str, ...]) -> str:
        """Give a text that stands in the environment or in a file, maybe after a scheme."""
        prefix: Any = source.get("prefix", "")
        kind = next((one for one in ("env", "file") if one in source), None)
        place = source.get(kind) if kind else None
        whole = set(source) <= {kind, "prefix"} and isinstance(prefix, str)
        if kind is None or not whole or not isinstance(place, str):
            raise self.wrong(where, 'a table here must be { env = "NAME" } or { file = "PATH" },'
                             ' maybe with prefix = "Bearer "')  # fmt: skip
        if kind == "env":
            text = self.environ.get(place)
            if text is None:
                shown = printable(place, 64)
                raise self.wrong(where, f"the environment variable {shown} is not set")
            return f"{prefix}{text.strip()}"
        what = f"MCP servers file {self.file}: {printable('.'.join(where), 120)}: its file"
        try:
            text = _read(Path(place), MAX_SECRET_BYTES, what).decode().strip()
        except UnicodeDecodeError:
            raise self.wrong(where, "its file is not UTF-8") from None
        return f"{prefix}{text}"
