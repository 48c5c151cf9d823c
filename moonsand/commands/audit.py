"""`moonsand audit`: the ledger's archive, without a service."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand import audit_options as options
from moonsand import script_options
from moonsand.exits import Exit
from moonsand.terminal import write_output

if TYPE_CHECKING:
    from ledger.audit import Verified
    from ledger.audit_tree import Finding
    from ledger.log_keys import Verifier

app = typer.Typer(no_args_is_help=True, help="Verify and query the ledger's archive.")
_MAX_SHOWN = 100


@app.command()
def verify(
    archive: options.ArchivePath = None,
    kept: options.Kept = None,
    log_key: options.PublicKey = None,
    as_json: script_options.AsJson = False,
) -> int:
    """
    Verify an archive offline; say which entry is wrong.

    Exit code: 0 everything holds, 1 something does not, 2 nothing was verified.
    """
    from core.settings import load_settings
    from ledger.audit import verify_archive
    from ledger.audit_source import open_source
    from ledger.audit_tree import Finding
    from ledger.tiles import LedgerDamaged
    from moonsand import audit_inputs as inputs

    settings = load_settings()
    public = inputs.public_key(log_key, settings)
    earlier = inputs.kept_checkpoints(kept, public)
    shown = _Shown(as_json=as_json)
    try:
        with closing(open_source(inputs.archive_path(archive, settings))) as source:
            opener = inputs.opener(source, settings)
            verified = verify_archive(source, public, shown.add, kept=earlier, opener=opener)
    except LedgerDamaged as error:
        shown.add(Finding(error.detail))
        verified = None
    shown.end(verified, public)
    return Exit.FAILED if shown.count else Exit.SUCCEEDED


@app.command()
def query(
    archive: options.ArchivePath = None,
    tenant: options.Tenant = None,
    key: options.KeyId = None,
    kind: options.Kind = None,
    function: options.Function = None,
    effect: options.Effect = None,
    reason: options.Reason = None,
    script: options.Script = None,
    since: options.Since = None,
    until: options.Until = None,
    sql: Annotated[
        str | None,
        typer.Option(help="Ask the tables `entries` and `calls` of these in SQL (extra audit)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> int:
    """List entries of an archive that fit all filters; no payload is read."""
    from core.settings import load_settings
    from ledger.audit_query import select
    from ledger.audit_source import open_source
    from moonsand import audit_inputs as inputs
    from moonsand import audit_view as view

    wanted = inputs.filter_of(*(tenant, key, kind, reason), script, function, effect, since, until)
    with closing(open_source(inputs.archive_path(archive, load_settings()))) as source:
        if sql is not None:
            from moonsand.audit_tables import ask

            view.write_rows(ask(source, wanted, sql), as_json=as_json)
        elif as_json:
            view.write_json(select(source, wanted))
        else:
            view.write_table(select(source, wanted))
    return Exit.SUCCEEDED


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Directory for the files; they are never replaced.")],
    archive: options.ArchivePath = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Parquet instead of NDJSON (extra audit).")
    ] = False,
    tenant: options.Tenant = None,
    key: options.KeyId = None,
    kind: options.Kind = None,
    function: options.Function = None,
    effect: options.Effect = None,
    reason: options.Reason = None,
    script: options.Script = None,
    since: options.Since = None,
    until: options.Until = None,
) -> int:
    """Write entries and calls that fit all filters into files; no payload is read."""
    from core.settings import load_settings
    from ledger.audit_source import open_source
    from moonsand import audit_inputs as inputs
    from moonsand import audit_tables as tables

    wanted = inputs.filter_of(*(tenant, key, kind, reason), script, function, effect, since, until)
    write = tables.write_parquet if parquet else tables.write_ndjson
    with closing(open_source(inputs.archive_path(archive, load_settings()))) as source:
        for path in write(source, wanted, out):
            write_output(f"{path}\n")
    return Exit.SUCCEEDED


@app.command()
def erase(
    run: Annotated[str | None, typer.Option(help="One run, which has ended.")] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Runs that ended longer ago: `90d`, `12h`.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(help="All of a tenant, or with --older-than its older runs.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Place of the archive (default: as for verify).")
    ] = None,
    archive_only: Annotated[
        bool, typer.Option("--archive-only", help="Leave Redis alone: it is gone.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> int:
    """Delete payloads for ever; entries, digests and proofs stay, and still verify."""
    from core.settings import load_settings
    from moonsand import audit_inputs as inputs
    from moonsand import erasing

    settings = load_settings()
    wish = erasing.wish_of(run, older_than, tenant)
    place = inputs.archive_path(archive, settings)
    redis_url = None if archive_only else _redis_url()
    if not yes:
        typer.confirm(f"Delete the payloads of {erasing.in_words(wish)} for ever?", abort=True)
    opened = erasing.open_writer(place, settings)
    told, complete = erasing.erase_payloads(wish, opened, redis_url)
    write_output(f"{told}\n")
    return Exit.SUCCEEDED if complete else Exit.FAILED


def _redis_url() -> str:
    from moonsand.commands.keys import redis_url

    return redis_url()


class _Shown:
    """Findings, as they come: one a line."""

    def __init__(self, *, as_json: bool) -> None:
        self.count = 0
        self._as_json = as_json
        self._findings: list[dict[str, object]] = []

    def add(self, finding: Finding) -> None:
        self.count += 1
        if self.count > _MAX_SHOWN:
            return
        if self._as_json:
            self._findings.append(asdict(finding))
        else:
            write_output(f"{finding}\n")

    def end(self, verified: Verified | None, key: Verifier) -> None:
        if self._as_json:
            told = {"ok": not self.count, "log": key.name, "findings": self._findings}
            write_output(json.dumps(told | (asdict(verified) if verified else {}) | told) + "\n")
            return
        if self.count > _MAX_SHOWN:
            write_output(f"and {self.count - _MAX_SHOWN} more\n")
        if verified is not None:
            write_output(f"{_summary(verified, key)}\n")
        if self.count:
            noun = "thing does" if self.count == 1 else "things do"
            write_output(f"NOT verified: {self.count} {noun} not hold\n")
        else:
            write_output("verified\n")


def _summary(verified: Verified, key: Verifier) -> str:
    left = verified.size - verified.signed
    text = f"{verified.size} entries of {key.name}, {verified.checkpoints} checkpoints"
    if left and verified.findings:
        text += f"; {verified.signed} of them proved"
    elif left:
        text += f"; the last {left} are not signed yet, and not proved"
    counts = verified.tapes
    if counts is None:
        return f"{text}; no tapes in this kind of archive"
    text += f"\n{counts.runs} runs, {counts.lines} lines of tapes, {counts.payloads} payloads"
    if counts.erased:
        text += f"; {counts.erased} payloads are erased"
    if counts.unopened:
        text += f"; {counts.unopened} are sealed and were not opened (no master key here)"
    return text
