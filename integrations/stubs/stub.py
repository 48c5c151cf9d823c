"""What every stub of a vendor is to those who serve and use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.types import ASGIApp


class Stub(Protocol):
    """One vendor's HTTP API, with accounts of its own and state that can be thrown away."""

    @property
    def app(self) -> ASGIApp:
        """The application that answers as the vendor does."""

    def accounts(self, url: str) -> Mapping[str, Mapping[str, str]]:
        """Give the credential fields of every account it knows, when it is served at `url`."""

    def reset(self) -> None:
        """Forget what was created, and lift rate limits."""
