"""
Entries and calls of an archive as tables: SQL over them, and Parquet, by DuckDB (extra `audit`).

The rows are copied into a database in memory, which then has no access to files, network or
extensions, and whose settings are locked: a query can neither read nor change anything else.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import Invalid, Unavailable
from ledger.audit_query import CALLS, ENTRIES, Filter, call_row, entry_row, select

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from ledger.audit_source import SqliteSource, TileSource

TABLES: Mapping[str, Mapping[str, str]] = {"entries": ENTRIES, "calls": CALLS}
_MAX_ROW_BYTES = 16 << 20


def write_ndjson(source: SqliteSource | TileSource, wanted: Filter, directory: Path) -> list[Path]:
    """
    Write `entries.ndjson` and `calls.ndjson`, which were not there; give them.

    Raises:
        Invalid: one is there, or cannot be made.
    """
    paths = [directory / f"{name}.ndjson" for name in TABLES]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with paths[0].open("x") as entries, paths[1].open("x") as calls:
            for entry in select(source, wanted):
                entries.write(f"{json.dumps(entry_row(entry), ensure_ascii=False)}\n")
                for call in entry.calls:
                    calls.write(f"{json.dumps(call_row(call), ensure_ascii=False)}\n")
    except OSError as error:
        raise Invalid(f"{error.filename or directory}: {error.strerror}") from None
    return paths


def write_parquet(source: SqliteSource | TileSource, wanted: Filter, directory: Path) -> list[Path]:
    """
    Write `entries.parquet` and `calls.parquet`, which were not there; give them.

    Raises:
        Invalid: one is there, or cannot be made. Unavailable: the extra is not installed.
    """
    paths = [directory / f"{name}.parquet" for name in TABLES]
    for path in paths:
        if path.exists():
            raise Invalid(f"{path}: File exists")
    database = _filled(source, wanted)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, path in zip(TABLES, paths, strict=True):
            target = str(path).replace("'", "''")
            database.execute(f"COPY {name} TO '{target}' (FORMAT parquet)")
    except OSError as error:
        raise Invalid(f"{directory}: {error.strerror}") from None
    finally:
        database.close()
    return paths


def ask(source: SqliteSource | TileSource, wanted: Filter, query: str) -> Iterator[dict[str, Any]]:
    """
    Answer a query in SQL over `entries` and `calls`, row by row.

    Raises:
        Invalid: the query is wrong. Unavailable: the extra is not installed.
    """
    database = _filled(source, wanted)
    import duckdb  # noqa: PLC0415 (an extra, which is there by now)

    try:
        for setting in ("enable_external_access = false", "lock_configuration = true"):
            database.execute(f"SET {setting}")
        answer = database.execute(query)
        if answer is None:
            raise Invalid("the query is empty")
        names = [one[0] for one in answer.description or ()]
        while rows := answer.fetchmany(1_000):
            yield from (dict(zip(names, row, strict=True)) for row in rows)
    except duckdb.Error as error:
        raise Invalid(f"the query: {str(error).splitlines()[0]}") from None
    finally:
        database.close()


def _filled(source: SqliteSource | TileSource, wanted: Filter) -> DuckDBPyConnection:
    try:
        import duckdb  # noqa: PLC0415 (an extra)
    except ImportError:
        raise Unavailable(
            "this needs DuckDB, which is not installed", hint="pip install 'moonsand[audit]'"
        ) from None
    off: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    database = duckdb.connect(":memory:", config=off)
    with tempfile.TemporaryDirectory(prefix="moonsand-audit-") as directory:
        paths = write_ndjson(source, wanted, Path(directory))
        for (name, columns), path in zip(TABLES.items(), paths, strict=True):
            typed = ", ".join(f"'{column}': '{kind}'" for column, kind in columns.items())
            database.execute(
                f"CREATE TABLE {name} AS SELECT * FROM read_json('{path}',"  # noqa: S608
                f" format = 'newline_delimited', columns = {{{typed}}},"
                f" maximum_object_size = {_MAX_ROW_BYTES})"
            )
    return database
