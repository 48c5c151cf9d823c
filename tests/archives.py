"""Archives to verify: of runs with true digests, made by a real sequencer on a real Redis."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import redis

from core import keys
from core.errors import Unavailable
from core.ids import new_id
from ledger.audit import Verified, verify_archive
from ledger.audit_runs import Opener
from ledger.audit_source import SqliteSource, open_source
from ledger.leaves import accepted_leaf, new_salt
from ledger.sqlite_archive import NAME
from ledger.tiles import LedgerDamaged
from runs.redis_scripts import load
from tenancy.master_keys import MasterKeys
from tenancy.payload_keys import PayloadReader
from tests.sequencing import KEY, plain, taking


def sha(data: bytes | str) -> str:
    """Give the SHA-256 in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def true_run(
    client: redis.Redis, tenant: str, *, calls: int = 1, script: str = "", word: str = "word"
) -> str:
    """Write what a run leaves behind when it has ended, every digest true; give its id."""
    run = new_id("run")
    script = script or f"return '{word}-script'"
    given, surface = f'{{"said":"{word}-input"}}', '{"mux":{}}'
    result, output = f'"{word}-result"', f"{word}-output"
    accepted: dict[str, Any] = {"tenant": tenant, "key_id": "key_1", "seed": 7, "salt": new_salt()}
    accepted |= {"script_sha256": sha(script), "input_sha256": sha(given)}
    limited = {"allow": "mux.create_asset", "arguments": {"type": "object", "title": "words"}}
    accepted |= {"limits": {"calls": 9}, "grants": ["mux:read", limited], "mode": "plan"}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("accepted", accepted),
        ("started", {"attempt": 1, "worker": "w1"}),
    ]
    call = {"name": "mux.create_asset", "account": "default", "effect_class": "write"}
    for seq in range(1, calls + 1):
        reply = f'{{"reply":"{word}-reply"}}'
        rows.append(("intent", {"seq": seq, "surface_sha256": sha(surface), **call}))
        rows.append(("effect", {"seq": seq, "effect": "succeeded", "ok": True, "reply": reply}))
    if calls == 2:
        rows.append(("effect", {"seq": 3, "effect": "denied", "ok": False, **call}))
        rows.append(("effect", {"seq": 4, "effect": "planned", "ok": True, **call}))
        rows.append(("waiting", {"seq": 5, "for": "approval", "until_ms": 9}))
    pipeline = client.pipeline(transaction=False)
    for seq, (kind, body) in enumerate(rows, 1):
        fields: Any = {"kind": kind, "at_ms": 1_000 + seq, "body": orjson.dumps(body)}
        pipeline.xadd(keys.tape(run), fields, id=f"{seq}-0")
    kept: dict[str, Any] = {"tenant": tenant, "state": "running", "input": given}
    kept |= {"script": sha(script), "result_ttl_s": 3_600}
    for name, value in kept.items():
        pipeline.hset(keys.run(run), name, value)
    pipeline.set(keys.script(sha(script)), script)
    pipeline.set(keys.surface(sha(surface)), surface)
    leaf: Any = {"kind": "run.accepted", "run": run, "leaf": accepted_leaf(run, 1_000, accepted)}
    pipeline.xadd(keys.LEDGER_INBOX, leaf)
    pipeline.execute()
    body = {"reason": "ok", "attempt": 1, "usage": {"calls": calls}, "versions": {"lua": "5.4"}}
    body |= {"result_sha256": sha(result), "output_sha256": sha(output)}
    fields = "{'result', ARGV[4], 'output', ARGV[5]}"
    text = (
        f"{load('lib_end').text}\nend_run(ARGV[1], ARGV[2], 'succeeded', 'ok', ARGV[3], {fields})"
    )
    client.eval(text, 0, run, "2000", orjson.dumps(body), result, output)
    return run


def make_archive(
    client: redis.Redis, directory: Path, masters: MasterKeys | None = None
) -> list[str]:
    """Sequence runs of two tenants, and other leaves, in three batches; give the runs' ids."""
    directory.mkdir(exist_ok=True)
    runs: list[str] = []
    with taking(client, directory, masters) as one:
        for batch in range(3):
            for tenant in ("acme", "beta"):
                script = f"return '{tenant}'"  # which all its runs share
                runs.append(true_run(client, tenant, calls=batch, word=f"{tenant}{batch}"))
                runs.append(true_run(client, tenant, calls=1, script=script))
            plain(client, 100)
            one.drain()
    settle(directory)
    return runs


def settle(directory: Path) -> None:
    """Put all of an archive into its one file, so that it can be copied."""
    with closing(sqlite3.connect(directory / NAME)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("PRAGMA journal_mode=DELETE")


def copied(directory: Path, to: Path) -> Path:
    """Copy an archive that was settled; give the directory of the copy."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    shutil.copy(directory / NAME, to / NAME)
    return to


def verified(
    directory: Path, kept: Sequence[str] = (), masters: MasterKeys | None = None
) -> tuple[Verified | None, list[str]]:
    """Verify an archive; give what was verified, and the findings."""
    found: list[str] = []
    try:
        with closing(open_source(directory)) as source:
            opener: Opener | None = None
            if masters is not None and isinstance(source, SqliteSource):
                opener = PayloadReader(source, masters).open
            notes = [("the auditor", one) for one in kept]
            report = found.append
            done = verify_archive(
                source, KEY.public, lambda one: report(str(one)), kept=notes, opener=opener
            )
            return done, found
    except LedgerDamaged as error:
        return None, [error.detail]
    except Unavailable as error:  # the number of the format was changed: nothing is read
        if "has format" not in error.detail:
            raise
        return None, [error.detail]
