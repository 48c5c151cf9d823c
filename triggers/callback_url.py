"""
Where callbacks may go, as far as an address alone tells.

Runs in: api, scheduler. Trusts: the operator's settings. Refuses: addresses without TLS in
production, with a user or a fragment, with odd characters, and literal addresses that are not
public. May import: stdlib, core, integrations.egress.

A name is resolved when something is sent, and refused then if an address of it is not public.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import SplitResult, urlsplit

from core.errors import Invalid
from integrations.egress import is_public

if TYPE_CHECKING:
    from core.settings import Settings

MAX_URL_CHARS = 2_048
_TEXT = re.compile(r"https?://[\x21-\x7e]+")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9a-fA-F:.]{2,45}")


@dataclass(frozen=True, slots=True)
class UrlPolicy:
    """What the operator allows: addresses without TLS, and this machine itself."""

    plain: bool = False
    loopback: bool = False

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """Read it: TLS is needed in production; this machine only where a setting allows it."""
        return cls(settings.environment != "production", settings.callback_loopback)

    def check(self, url: str, *, pointer: str = "/url") -> str:
        """
        Give an address back if callbacks may go there.

        Raises:
            Invalid: they may not; it says why.
        """
        parts = _split(url, pointer)
        local = is_local(parts)
        if local and not self.loopback:
            raise Invalid("callbacks may not go to this machine itself", pointer=pointer)
        if parts.scheme == "http" and not self.plain and not local:
            raise Invalid("it must begin with https://", pointer=pointer)
        literal = _literal(parts)
        if literal is not None and not local and not is_public(literal):
            raise Invalid("callbacks go to public addresses only", pointer=pointer)
        return url


def leads_here(url: str) -> bool:
    """Tell whether an address that was checked is one of this machine itself."""
    return is_local(urlsplit(url))


def is_local(parts: SplitResult) -> bool:
    """Tell whether the host is `localhost` or a literal loopback address."""
    literal = _literal(parts)
    return parts.hostname == "localhost" or (literal is not None and literal.is_loopback)


def _literal(parts: SplitResult) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return None


def _split(url: str, pointer: str) -> SplitResult:
    if len(url) > MAX_URL_CHARS:
        raise Invalid(f"it has more than {MAX_URL_CHARS} characters", pointer=pointer)
    try:
        parts = urlsplit(url)
        good = bool(_TEXT.fullmatch(url) and parts.hostname and parts.port != 0)
        good = good and _HOST.fullmatch(parts.hostname or "") is not None
    except ValueError:
        good = False
    if not good:
        raise Invalid("it must be an address, https://HOST/PATH, in ASCII", pointer=pointer)
    if "@" in parts.netloc or parts.fragment or "\\" in url:
        detail = "it must have neither a user, a fragment nor a backslash"
        raise Invalid(detail, pointer=pointer)
    return parts
