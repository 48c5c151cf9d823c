"""Whatever stands on the command line or comes from stdin, the command answers in words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from integrations.catalog import MAX_DEPTH, MAX_FILE_BYTES, PackInvalid, load_pack
from tests import warm
from tests.command import environment, moonsand
from tests.openapi_runs import DOCUMENTS

BYTES = b"\xff\xfe\x1b[2J"
_IMPORT = ["integrations", "import", str(DOCUMENTS / "orders-3.1.yaml"), "--name", "a"]
_RUNS = ["runs", "--key", "a"]
_CALL = ["integrations", "call", "mux.list_assets"]


def command(
    *arguments: str | bytes, stdin: bytes = b"", home: Path
) -> subprocess.CompletedProcess[bytes]:
    """Run the command with arguments that need not be text."""
    return warm.run("moonsand", *arguments, env=environment(home), stdin=stdin, cwd=home)


@pytest.mark.parametrize(
    "arguments",
    [
        [BYTES],
        ["run", BYTES],
        ["run", "-e", BYTES],
        ["run", "-e", "return 1", "--input", BYTES],
        ["run", "-e", "return 1", "--input", b"@" + BYTES],
        ["run", "-e", "return 1", "--input", '"\\ud800"'],
        ["run", "-e", "return 1", "--input", "[" * 50_000],
        ["run", "-e", "return 1", "--input", "NaN"],
        ["run", "-e", "return 1", "--grant", BYTES],
        ["run", "-e", "return 1", "--packs", BYTES],
        ["run", "-e", "return 1", "--accounts", BYTES],
        ["check", BYTES],
        ["integrations", "docs", BYTES],
        ["integrations", "schema", BYTES],
        ["integrations", "lint", BYTES],
        ["integrations", "list", "--packs", "/dev/null"],
        ["integrations", "stubs", "--out", "/"],
        [*_CALL, b'{"a":"\xff"}'],
        [*_CALL, "--arg", b"\xff=1"],
        [*_CALL, "--arg", b"a=\xff"],
        [*_CALL, '{"limit": NaN}'],
        [*_CALL, '{"limit": 1e999}'],
        [*_CALL, '{"limit": 99999999999999999999}'],
        [*_CALL, '{"page": "\\ud800"}'],
        [*_CALL, "[" * 50_000],
        [*_IMPORT, "--host", "http://[::1"],
        [*_IMPORT, "--host", BYTES],
        [*_IMPORT, "--host", "a.example", "--only", BYTES],
        [*_IMPORT, "--host", "a.example", "--auth", BYTES],
        [*_IMPORT, "--host", "a.example", "--out", "/dev/null"],
        ["submit", "-e", BYTES],
        [*_RUNS, "--url", "http://[::1"],
        [*_RUNS, "--url", b"http://\xff"],
        [*_RUNS, "--url", "http://127.0.0.1:99999"],
        [*_RUNS, "--url", "ftp://127.0.0.1"],
        [*_RUNS, "--url", "http://a b"],
        ["runs", "--url", "http://127.0.0.1:1", "--key", BYTES],
        ["runs", "--url", "http://127.0.0.1:1", "--key", "a\nX: b"],
        ["logs", BYTES],
        ["keys", "create", "--tenant", BYTES],
        ["credentials", "test", BYTES],
    ],
    ids=lambda arguments: b" ".join(
        one if isinstance(one, bytes) else one[:20].encode() for one in arguments[-3:]
    ).decode("ascii", "replace"),
)
def test_a_hostile_command_line_is_refused_in_words(
    arguments: list[str | bytes], tmp_path: Path
) -> None:
    """Exit code 2 (or 3 where a service is missing), no traceback, nothing a terminal obeys."""
    done = command(*arguments, home=tmp_path)

    assert done.returncode in {2, 3}, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 2, done.stderr


@pytest.mark.parametrize("url", ["redis://\udcff", "redis://a:b", "redis://", "nonsense"])
def test_a_hostile_address_of_redis_is_refused_in_words(url: str, tmp_path: Path) -> None:
    """A worker that is told nonsense says so, in a line and a hint."""
    done = moonsand("worker", "--burst", env=environment(tmp_path, REDIS_URL=url))

    assert done.returncode in {2, 3}, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2, done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["run"], b"x" * (20 << 20)),
        (["run"], BYTES),
        (["run", "--json"], b"\0" * 100),
        (["check", "-"], b"-- \xff"),
        ([*_CALL, "-"], b" " * (20 << 20)),
        ([*_CALL, "-"], b'{"a": "\xff"}'),
        (["integrations", "import", "-", "--name", "a", "--host", "a.example"], b"\xff"),
        (["integrations", "import", "-", "--name", "a", "--host", "a.example"], b"\0"),
    ],
)
def test_hostile_stdin_is_refused_in_words(
    arguments: list[str], stdin: bytes, tmp_path: Path
) -> None:
    """However much comes, and of whatever kind, it is refused or is a script that fails."""
    done = command(*arguments, stdin=stdin, home=tmp_path)

    assert done.returncode in {1, 2}, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: \xff", "not UTF-8 text: byte 4"),
        (b"a: " + b"[" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        (b"- " * 1_000, f"nested deeper than {MAX_DEPTH} levels"),
        (b"#" * (MAX_FILE_BYTES + 1), f"more than {MAX_FILE_BYTES} bytes"),
        (b"a: &a [*a]", "Field required"),
        (b"", "valid dictionary"),
        (b"\0", "not YAML"),
    ],
    ids=["bytes", "deep", "deep-block", "large", "circle", "empty", "zero"],
)
def test_a_hostile_pack_is_refused_in_words(content: bytes, says: str, tmp_path: Path) -> None:
    """A pack that somebody else wrote ends no process: neither its size, depth nor bytes."""
    pack = tmp_path / "vendor.yaml"
    pack.write_bytes(content)

    with pytest.raises(PackInvalid, match=says):
        load_pack(pack)
