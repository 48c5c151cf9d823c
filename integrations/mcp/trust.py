"""
Which lists of tools the operator trusts: a file beside the file of servers.

It holds the lists whole, not only their digests. So a worker knows what a script may name without
asking any server, every worker that has the same two files knows the same, and what changed can
be told by name. A worker only reads it; `moonsand mcp trust` writes it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.errors import Invalid
from integrations.accounts import DEVELOPMENT
from integrations.mcp.servers_file import Server
from integrations.mcp.tool_list import ListRefused, ToolList

MAX_BYTES = 64 * 1024 * 1024
_FORM = 1

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Pin:
    """A trusted list of tools. `endpoint` is where the server was; `trusted_ms` Unix time."""

    tools: ToolList
    endpoint: str
    trusted_ms: int

    def covers(self, server: Server) -> bool:
        """Tell whether it is of this server, in the place where it is now."""
        return self.endpoint == server.endpoint


class TrustFile:
    """The file and what stands in it. `pin` gives nothing for what is not in it."""

    def __init__(self, servers: Path) -> None:
        self._path = servers.with_name(f"{servers.name}.trust.json")

    @property
    def name(self) -> str:
        """Give the name of the file, without its directory."""
        return self._path.name

    def stamp(self) -> Stamp | None:
        """Give what changes whenever the file does; None while there is none."""
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def read(self) -> dict[tuple[str, str], Pin]:
        """
        Give all pins by tenant and server; none when there is no file.

        Raises:
            Invalid: it cannot be read, or is not what `write` writes.
        """
        try:
            with self._path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Invalid(f"{self.name}: {error.strerror}") from None
        if len(raw) > MAX_BYTES:
            raise Invalid(f"{self.name}: more than {MAX_BYTES} bytes")
        try:
            return _pins(orjson.loads(raw))
        except (ValueError, KeyError, TypeError, AttributeError, ListRefused):
            hint = "trust the servers again after removing it"
            raise Invalid(f"{self.name}: not a file of trusted tools", hint=hint) from None

    def write(self, pins: Mapping[tuple[str, str], Pin]) -> None:
        """
        Put these pins in place of all in the file, at once.

        Raises:
            Invalid: it cannot be written.
        """
        document: dict[str, Any] = {"form": _FORM, "tenants": {}}
        for (tenant, server), pin in sorted(pins.items()):
            document["tenants"].setdefault(tenant, {})[server] = {
                "endpoint": pin.endpoint,
                "trusted_ms": pin.trusted_ms,
                "digest": pin.tools.digest,
                "tools": pin.tools.to_json(),
            }
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.name}.", dir=self._path.parent)
            with os.fdopen(handle, "wb") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
                os.fchmod(stream.fileno(), 0o644)  # no secret is in it
            Path(name).replace(self._path)
        except OSError as error:
            raise Invalid(f"{self.name}: {error.strerror}") from None


def tenant_key(tenant: str | None) -> str:
    """Give the name under which the servers of a tenant stand; a local run has development's."""
    return tenant or DEVELOPMENT


def _pins(document: Any) -> dict[tuple[str, str], Pin]:
    if document["form"] != _FORM:
        raise ValueError
    pins = {}
    for tenant, servers in document["tenants"].items():
        for name, one in servers.items():
            tools = ToolList.of(one["tools"])
            # A list that was edited by hand is nobody's: the digest was read and agreed to.
            if tools.digest != one["digest"]:
                raise ValueError
            pins[tenant, name] = Pin(tools, str(one["endpoint"]), int(one["trusted_ms"]))
    return pins
