"""What RQ's worker runs, alone in its module: a fork imports nothing to find it."""

from __future__ import annotations


def no_op(given: object) -> object:
    """Do nothing."""
    return given
