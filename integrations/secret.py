"""A value that must not be shown: its text comes out by one method, and by nothing else."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """
    Holds one credential. `repr`, `str` and formatting show `Secret(***)`; it can't be pickled.

    Equality is identity, so that a failed assertion in a test prints nothing either.
    """

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Give the text. Call it only where the text goes onto the wire, or to search for it."""
        return self.__text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not serialised")
