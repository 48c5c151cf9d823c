"""Mixpeek: a bucket's schema from the one type of its objects."""

from __future__ import annotations

from typing import Any

from integrations.adapters import Send


async def create_bucket(arguments: dict[str, Any], send: Send) -> Any:
    """Create a bucket; `blob_type` stands for a schema with one field of this type and name."""
    kind = arguments.get("blob_type")
    if (kind is None) == ("bucket_schema" not in arguments):
        raise send.refuse("give exactly one of blob_type and bucket_schema")
    if kind is not None:
        schema = {"properties": {kind: {"type": kind}}}
        arguments = {**arguments, "bucket_schema": schema}
    return await send.mapped(arguments)
