"""Saved scripts in batches: one version for all items, looked up when the batch is made."""

from __future__ import annotations

from dataclasses import replace

from runs.batches.model import BatchRequest
from runs.model import RunRequest
from triggers.input_schema import schema_text
from triggers.refs import Ref
from triggers.saved import ScriptVersion
from triggers.scripts import SavedScripts

_UNNAMED = RunRequest.model_fields["name"].default


async def with_saved_script(
    scripts: SavedScripts, tenant: str, request: BatchRequest
) -> tuple[BatchRequest, ScriptVersion | None]:
    """
    Put a saved script's text and terms into a batch that names one by `script_ref`.

    Limits and grants of the batch go before those of the script. Gives the version, too.

    Raises:
        Invalid: there is no such script, version or alias.
        Unavailable: Redis does not answer.
    """
    run = request.run
    if run.script_ref is None:
        return request, None
    found = await scripts.resolve(tenant, Ref.parse(run.script_ref))
    version = found.version
    whole = run.model_copy(
        update={
            "script": found.text.decode(),
            "script_ref": version.ref,
            "limits": {**version.limits, **run.limits},
            "grants": version.grants if run.grants is None else run.grants,
            "name": version.ref if run.name == _UNNAMED else run.name,
        }
    )
    return replace(request, run=whole), version


async def schema_of(
    scripts: SavedScripts, tenant: str, script_ref: str, version: ScriptVersion | None = None
) -> str | None:
    """
    Give the JSON Schema that a saved script's inputs are held to; None when there is none.

    `version` is looked up again only if it is another one, or None.

    Raises:
        Invalid: the script is gone.
        Unavailable: Redis does not answer.
    """
    if version is None or version.ref != script_ref:
        version = (await scripts.resolve(tenant, Ref.parse(script_ref))).version
    return None if version.input_schema is None else schema_text(version.input_schema)
