"""Why a document cannot be imported."""

from __future__ import annotations


class ImportRefused(Exception):
    """A document, or what is asked of it, cannot be imported; the message says why."""
