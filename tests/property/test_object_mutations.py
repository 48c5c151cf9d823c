"""
No change of an archive of objects goes unnoticed, by either of two verifiers that share no code.

The archive has runs of two tenants in three batches, one of which was erased since, so that what
its packs had besides stands in others. Sealed payloads are held to their packs' digests by who has
no master key; a forger who writes the journal anew is found by who has.
"""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from functools import partial
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.redis_client import connect
from core.redis_server import PrivateRedis
from ledger.archives import create_objects
from ledger.erasing import Wish, erase
from tenancy.master_keys import MasterKeys
from tests.archive_kinds import Place
from tests.archives import true_run, verified
from tests.object_mutations import MUTATIONS, Change, edit_a_byte, names_of
from tests.sequencing import KEY, plain, taking
from tools import moonsand_verify

MASTERS_LINE = "m1:" + "A" * 43 + "="
MASTERS = MasterKeys.parse(MASTERS_LINE)
KINDS = ("clear", "sealed")


def fill(client: redis.Redis, place: Place, masters: MasterKeys | None) -> None:
    """Sequence three batches, and erase a run of the second."""
    place.directory.mkdir()
    runs: list[str] = []
    with taking(client, place, masters) as one:
        for batch in range(3):
            for tenant in ("acme", "beta"):
                script = f"return '{tenant}'"  # which all its runs share
                runs.append(true_run(client, tenant, calls=batch, word=f"{tenant}{batch}"))
                runs.append(true_run(client, tenant, calls=1, script=script))
            plain(client, 100)
            one.drain()
    with closing(create_objects(place.objects, place.directory)) as archive:
        erase(archive, Wish(run=runs[4]), 5_000, lambda _: None)
    with taking(client, place, masters) as one:
        plain(client, 3)
        one.drain()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives in the clear and sealed."""
    base = tmp_path_factory.mktemp("objects")
    made = {}
    with PrivateRedis(tmp_path_factory.mktemp("redis")) as server, connect(server.url) as client:
        for kind in KINDS:
            client.flushall()
            place = Place(base / kind, str(base / kind / "objects"))
            fill(client, place, MASTERS if kind == "sealed" else None)
            made[kind] = Path(place.objects)
    (base / "masters").write_text(MASTERS_LINE)
    return made


def second_opinion(root: Path, masters: Path | None) -> tuple[int, str]:
    """Ask the verifier that shares no code with the service; give exit code and output."""
    arguments = [str(root), "--key", str(KEY.public)]
    if masters is not None:
        arguments += ["--vault-keys", str(masters)]
    said = io.StringIO()
    with redirect_stdout(said):
        code = moonsand_verify.main(arguments)
    return code, said.getvalue()


def both(root: Path, masters: Path | None) -> tuple[bool, bool, str]:
    """Tell whether each of both finds something, and what they said."""
    _, found = verified(root, masters=MASTERS if masters is not None else None)
    code, said = second_opinion(root, masters)
    assert code in {0, 1}, said
    return bool(found), code == 1, "\n".join([*found, said])


def changed(source: Path, mutate: Change, seed: int) -> Path:
    """Copy an archive and change it."""
    to = source.parent.parent / "mutated"
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(source, to, ignore=shutil.ignore_patterns(".new", ".lock"))
    mutate(to, names_of(to), random.Random(seed))  # noqa: S311 (no secret)
    return to


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_nobody_changed_holds(archives: dict[str, Path], kind: str) -> None:
    """Neither verifier finds anything, with and without the master keys, and both see the same."""
    for masters in (archives[kind].parent.parent / "masters", None):
        one, two, said = both(archives[kind], masters)
        assert (one, two) == (False, False), said
        done, _ = verified(archives[kind])
        assert done is not None
        assert done.tapes is not None
        assert f"{done.tapes.runs} tapes of {done.tapes.lines} lines" in said


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda one: one.__name__)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(KINDS))
def test_every_mutation_is_found_by_both(
    archives: dict[str, Path], mutate: Change, seed: int, kind: str
) -> None:
    """Whatever is edited, cut, deleted, swapped or written anew: both verifiers say no."""
    made = changed(archives[kind], mutate, seed)
    one, two, said = both(made, archives[kind].parent.parent / "masters")
    assert (one, two) == (True, True), said


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_sealed_payload_is_found_to_be_changed_without_its_key(
    archives: dict[str, Path], seed: int
) -> None:
    """The journal has the digest of each pack, whoever can open what is in it."""
    edit: Callable[..., None] = partial(only_packs, edit_a_byte)
    made = changed(archives["sealed"], edit, seed)
    one, two, said = both(made, None)
    assert (one, two) == (True, True), said
    assert "was changed" in said


def only_packs(mutate: Change, root: Path, names: list[str], rng: random.Random) -> None:
    """Change packs and nothing else."""
    mutate(root, [name for name in names if name.startswith("payloads/")], rng)


def another_format(root: Path, names: list[str], _: random.Random) -> None:
    """Give an entry of the journal the number of a format that does not exist."""
    path = root / next(name for name in names if name.startswith("journal/"))
    path.write_bytes(path.read_bytes().replace(b'"v":2', b'"v":3', 1))


def another_spelling(root: Path, names: list[str], _: random.Random) -> None:
    """Change bits of a data key's base64 that stand for nothing."""
    path = root / next(name for name in names if name.startswith("keys/"))
    text = bytearray(path.read_bytes())
    at = text.index(b'=="') - 1
    text[at] = BASE64[BASE64.index(text[at]) ^ 1]
    path.write_bytes(text)


def no_last_newline(root: Path, names: list[str], _: random.Random) -> None:
    """Cut the last byte of the last entry, which has no data after its line."""
    path = root / max(name for name in names if name.startswith("journal/"))
    text = path.read_bytes()
    assert text.endswith(b"}\n")
    path.write_bytes(text[:-1])


BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@pytest.mark.parametrize(
    "mutate", [another_format, another_spelling, no_last_newline], ids=lambda one: one.__name__
)
def test_what_chance_seldom_finds_is_found_by_both(
    archives: dict[str, Path], mutate: Change
) -> None:
    """Changes of one byte that mean the same, or nothing, to who reads less than all."""
    made = changed(archives["sealed"], mutate, 0)
    one, two, said = both(made, archives["sealed"].parent.parent / "masters")
    assert (one, two) == (True, True), said
