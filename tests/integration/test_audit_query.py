"""Questions to an archive: filters, SQL that can touch nothing else, and exports."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from core.redis_client import connect
from core.redis_server import PrivateRedis
from tests.archives import make_archive, sha
from tests.command import environment, moonsand
from tests.property.test_archive_mutations import MASTERS


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive whose payloads are sealed: 12 runs of two tenants, and 300 other entries."""
    base = tmp_path_factory.mktemp("asked")
    with PrivateRedis(base / "redis") as server, connect(server.url) as client:
        make_archive(client, base / "ledger", MASTERS)
    return base / "ledger"


def asked(archive: Path, *arguments: str) -> list[dict[str, Any]]:
    """Ask with the real command; give the rows."""
    done = moonsand("audit", "query", str(archive), "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ([], 324),
        (["--tenant", "acme", "--kind", "run.finished"], 6),
        (["--tenant", "nobody"], 0),
        (["--key", "key_1"], 27),  # and three entries of a key with this id
        (["--key", "key_7"], 3),
        (["--kind", "key.created"], 300),
        (["--reason", "ok"], 12),
        (["--reason", "denied"], 0),
        (["--function", "mux.create_asset"], 10),
        (["--function", "mux", "--tenant", "beta"], 5),
        (["--function", "mu"], 0),
        (["--effect", "succeeded"], 10),
        (["--effect", "unknown"], 0),
        (["--effect", "denied", "--function", "mux"], 2),
        (["--script", sha("return 'acme'")], 6),
        (["--since", "1970-01-01T00:00:02", "--kind", "run.finished"], 12),
        (["--until", "1970-01-01T00:00:02", "--reason", "ok"], 0),
        (["--since", "2026-01-01"], 0),
    ],
)
def test_filters_give_what_fits_and_nothing_else(
    archive: Path, arguments: list[str], count: int
) -> None:
    """Each filter is counted against what was put into the archive."""
    assert len(asked(archive, *arguments)) == count


def test_an_entry_is_shown_as_it_stands(archive: Path) -> None:
    """The JSON of an entry is what was hashed; the table has a line for it and for its call."""
    row = asked(archive, "--function", "mux.create_asset", "--tenant", "acme")[0]
    assert (row["entry"]["tenant"], row["entry"]["kind"]) == ("acme", "run.finished")
    assert [call["effect"] for call in row["calls"]] == ["succeeded"]
    shown = moonsand("audit", "query", str(archive), "--reason", "ok", "--tenant", "acme")
    assert f"{row['index']:>8}" in shown.stdout
    assert "call 1: mux.create_asset  default  succeeded" in shown.stdout


def test_sql_answers_over_both_tables(archive: Path) -> None:
    """What SQL counts is what the filters count."""
    query = "SELECT tenant, count(*) AS n FROM calls GROUP BY tenant ORDER BY tenant"
    assert asked(archive, "--sql", query) == [
        {"tenant": "acme", "n": 8},
        {"tenant": "beta", "n": 8},
    ]
    query = "SELECT count(*) AS n FROM entries WHERE calls > 0"
    assert asked(archive, "--tenant", "acme", "--sql", query) == [{"n": 5}]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "COPY entries TO '{target}'",
        "ATTACH '{target}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SELECT * FROM glob('/*')",
        "EXPORT DATABASE '{target}'",
        "SELECT getenv('HOME')",
        "DROP",
        "SELECT * FROM nothing",
        "",
    ],
)
def test_sql_reaches_nothing_else(archive: Path, tmp_path: Path, query: str) -> None:
    """No file, network, extension or environment, whatever the query; the archive is untouched."""
    before = (archive / "archive.db").read_bytes()
    target = tmp_path / "made"
    given = ["audit", "query", str(archive), "--sql", query.format(target=target)]
    done = moonsand(*given)
    assert (done.returncode, done.stdout) == (2, "")
    assert not target.exists()
    assert (archive / "archive.db").read_bytes() == before


def test_exports_hold_the_same_rows(archive: Path, tmp_path: Path) -> None:
    """NDJSON and Parquet agree, nothing is replaced, and no payload or secret is in either."""
    for more in ([], ["--parquet"]):
        given = ["audit", "export", str(archive), "--out", str(tmp_path), "--tenant", "acme", *more]
        assert moonsand(*given).returncode == 0
        again = moonsand(*given)
        assert (again.returncode, again.stdout) == (2, "")
        assert "exists" in again.stderr
    for name, count in (("entries", 162), ("calls", 8)):
        lines = (tmp_path / f"{name}.ndjson").read_text().splitlines()
        rows = duckdb.read_parquet(f"{tmp_path / name}.parquet")
        same = [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()]
        assert [json.loads(line) for line in lines] == same
        assert len(same) == count or name == "entries"
    text = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    for word in ("script", "input", "result", "output", "reply"):
        assert f"acme0-{word}".encode() not in text
    kinds = Counter(
        json.loads(line)["kind"] for line in (tmp_path / "entries.ndjson").read_text().splitlines()
    )
    assert kinds["run.finished"] == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--effect", "maybe"], "--effect is one of"),
        (["--since", "yesterday"], "is no time"),
        (["--script", "/nowhere"], "--script is"),
    ],
)
def test_wrong_filters_are_refused(
    archive: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """A filter that means nothing is no filter that fits everything."""
    done = moonsand("audit", "query", str(archive), *arguments, env=environment(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
