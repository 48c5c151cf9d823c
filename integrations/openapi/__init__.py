"""
Writes packs from OpenAPI documents: 3.0, 3.1 and Swagger 2.0, in JSON or YAML.

A document comes from anywhere: it is data to be read within limits, and nothing it names is
fetched.
"""

from __future__ import annotations

from integrations.openapi.importing import Imported, import_document
from integrations.openapi.problem import ImportRefused

__all__ = ["ImportRefused", "Imported", "import_document"]
