"""The packs that are shipped, read once: nothing in them changes."""

from __future__ import annotations

from integrations.catalog import Catalog

CATALOG = Catalog.load()
