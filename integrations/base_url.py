"""Where requests may go: the address of a vendor as an account may give it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_LOOPBACK_NAMES = frozenset({"localhost", "localhost."})


def checked_base_url(text: str) -> str:
    """
    Give a base URL without a slash at the end; a path before it is kept.

    HTTPS only, except to this machine itself: credentials must not cross a network in the clear.

    Raises:
        ValueError: it is not such a URL; the message does not repeat it.
    """
    if any(letter.isspace() or not letter.isprintable() for letter in text) or not text.isascii():
        raise ValueError("must be a URL of printable ASCII characters")
    parts = urlsplit(text)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("has no usable host and port") from None
    if not host or port == 0:
        raise ValueError("has no usable host and port")
    if parts.username is not None or parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("must be only scheme, host, port and path")
    if any(piece in {".", ".."} for piece in parts.path.split("/")) or "\\" in text:
        raise ValueError("must not have `.`, `..` or a backslash in its path")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("must begin with https:// (http:// only to this machine itself)")
    return text.rstrip("/")


def tenant_base_url(text: str, pattern: str | None) -> str:
    """
    Give a base URL that a tenant gave, without a slash at the end.

    Raises:
        ValueError: it is not HTTPS, or not what the pack's `pattern` allows as a whole; the
            message does not repeat it.
    """
    url = checked_base_url(text)
    if pattern is None:
        raise ValueError("cannot be given here: the address of this vendor is fixed")
    if not url.startswith("https://") or not re.fullmatch(pattern, url):
        raise ValueError(f"must match {pattern}")
    return url


def is_loopback_url(url: str) -> bool:
    """Tell whether a URL leads to this machine itself, by its host as it is written."""
    return is_loopback(urlsplit(url).hostname or "")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself, without asking any name server."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
