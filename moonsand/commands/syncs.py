"""`moonsand syncs`: what fills buckets at Mixpeek from Mux, over HTTP."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from moonsand import connection
from moonsand.commands.connections import AsJson, all_of, ask
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_output

app = typer.Typer(no_args_is_help=True, help="Fill buckets at Mixpeek from Mux.")

Bucket = Annotated[str, typer.Argument(metavar="BUCKET", help="Id of a bucket, `bkt_...`.")]
SyncId = Annotated[str, typer.Argument(metavar="SYNC", help="Id of a sync, `syn_...`.")]
Interval = Annotated[
    int | None, typer.Option(min=30, max=900, metavar="SECONDS", help="Between two looks.")
]
Reconcile = Annotated[
    bool | None, typer.Option(help="Unindex what passes the metadata filters no more.")
]
Filters = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="JSON file with `file_filters`; `-` is stdin."),
]


class SyncMode(StrEnum):
    """How long a sync goes on."""

    INITIAL_ONLY = "initial_only"
    CONTINUOUS = "continuous"


@app.command()
def create(
    bucket: Bucket,
    connection_id: Annotated[
        str, typer.Argument(metavar="CONNECTION", help="Id or name of a connection.")
    ],
    source_path: Annotated[
        str, typer.Option(help="`mux://` for all assets, `mux://ASSET` for one.")
    ] = "mux://",
    mode: Annotated[SyncMode, typer.Option(help="All there is once, or also what is new.")] = (
        SyncMode.CONTINUOUS
    ),
    interval: Interval = None,
    filters: Filters = None,
    reconcile: Reconcile = None,
    namespace: Annotated[
        str | None, typer.Option(help="Namespace at Mixpeek, instead of the account's.")
    ] = None,
    account: Annotated[str, typer.Option(help="Account of Mixpeek.")] = "default",
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Make a sync; its first cycle begins at once."""
    given = {
        "connection_id": connection_id,
        "source_path": source_path,
        "sync_mode": mode.value,
        "polling_interval_seconds": interval,
        "file_filters": None if filters is None else _filters(filters),
        "reconcile_on_sync": reconcile,
        "namespace_id": namespace,
        "mixpeek_account": account,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    made = ask(url, key, lambda client: client.buckets.syncs.create(bucket, **fields))
    _show(made, as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def change(
    bucket: Bucket,
    sync: SyncId,
    interval: Interval = None,
    filters: Filters = None,
    reconcile: Reconcile = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Change a sync; it counts from the next cycle on."""
    given = {
        "polling_interval_seconds": interval,
        "file_filters": None if filters is None else _filters(filters),
        "reconcile_on_sync": reconcile,
    }
    fields = {name: value for name, value in given.items() if value is not None}
    if not fields:
        raise UsageFault("nothing to change was given; see --help")
    made = ask(url, key, lambda client: client.buckets.syncs.update(bucket, sync, **fields))
    _show(made, as_json=as_json)
    return Exit.SUCCEEDED


@app.command("list")
def list_syncs(
    bucket: Bucket,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """List the syncs of a bucket, newest first."""

    def listing(client: Any) -> Any:
        return lambda **query: client.buckets.syncs.list(bucket, **query)

    for one in all_of(url, key, listing):
        _show(one, as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def show(
    bucket: Bucket, sync: SyncId, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Show a sync, and what it came to, as JSON."""
    found = ask(url, key, lambda client: client.buckets.syncs.get(bucket, sync))
    write_output(f"{json.dumps(found)}\n")
    return Exit.SUCCEEDED


@app.command()
def trigger(
    bucket: Bucket, sync: SyncId, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Begin a cycle now; print the id of its run."""
    found = ask(url, key, lambda client: client.buckets.syncs.trigger(bucket, sync))
    write_output(f"{found['sync_job_id']}\n")
    return Exit.SUCCEEDED


@app.command()
def pause(
    bucket: Bucket, sync: SyncId, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Begin no more cycles; one that is under way goes on to its end."""
    _show(ask(url, key, lambda client: client.buckets.syncs.pause(bucket, sync)), as_json=False)
    return Exit.SUCCEEDED


@app.command()
def resume(
    bucket: Bucket, sync: SyncId, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Begin cycles again, at once."""
    _show(ask(url, key, lambda client: client.buckets.syncs.resume(bucket, sync)), as_json=False)
    return Exit.SUCCEEDED


@app.command()
def delete(
    bucket: Bucket, sync: SyncId, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Delete a sync; objects that it made stay at Mixpeek."""
    ask(url, key, lambda client: client.buckets.syncs.delete(bucket, sync))
    write_output(f"{safe(sync)} deleted\n")
    return Exit.SUCCEEDED


def _filters(path: str) -> Any:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except OSError as error:
        raise UsageFault(f"cannot read {safe(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageFault(f"{safe(path)} is not UTF-8") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageFault(f"{safe(path)} is not JSON: {error}") from None


def _show(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_output(f"{json.dumps(one)}\n")
        return
    words = [
        one["sync_config_id"],
        one["status"],
        one["sync_mode"],
        safe(one["source_path"]),
        f"{one['total_files_synced']} synced",
        f"{one['total_files_failed']} failed",
        f"{one['total_objects_deleted']} unindexed",
        f"next {one['next_sync_at'] or 'never'}",
    ]
    if one["last_error"]:
        words.append(safe(one["last_error"]))
    write_output("\t".join(words) + "\n")
