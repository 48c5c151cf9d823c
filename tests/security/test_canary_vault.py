"""A secret that went through the vault, a worker and a vendor stands nowhere in the clear."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from core.redis_client import connect
from core.redis_server import PrivateRedis
from integrations.stubs import Stubs
from tenancy.master_keys import new_line
from tests.command import environment, moonsand
from tests.worker_processes import running_worker

pytestmark = pytest.mark.jail


def stored(client: redis.Redis) -> Iterator[bytes]:
    """Give everything that Redis holds, of every type."""
    reads: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"stream": client.xrange,
    }
    for key in client.scan_iter():
        kind: Any = client.type(key)
        yield key + repr(reads[kind](key)).encode()


def processes(pids: list[int]) -> Iterator[bytes]:
    """Give command lines and environments."""
    for pid in pids:
        for name in ("cmdline", "environ"):
            try:
                yield Path(f"/proc/{pid}/{name}").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue


def test_no_secret_is_found_anywhere(tmp_path: Path, stubs: Stubs) -> None:
    """Set by the command, used by a run, then searched for: Redis, its files, processes, output."""
    secret, master = "stub-mux-default-secret", new_line("canary")
    keys_file = tmp_path / "vault.keys"
    keys_file.write_text(master)
    forms = [secret, base64.b64encode(f"stub-mux-default-id:{secret}".encode()).decode()]
    forms.append(master.partition(":")[2])
    with PrivateRedis(tmp_path / "redis") as server:
        env = environment(tmp_path, REDIS_URL=server.url, MOONSAND_VAULT_KEYS_FILE=str(keys_file))
        fields = {
            "token_id": "stub-mux-default-id",
            "token_secret": secret,
            "base_url": stubs.base_urls["mux"],
        }
        seen = [moonsand("credentials", "set", "mux", env=env, stdin=json.dumps(fields))]
        assert seen[0].returncode == 0, seen[0].stderr
        with running_worker(server.url, vault_keys_file=keys_file) as worker:
            seen.append(moonsand("credentials", "test", "mux", env=env))
            pids = [worker.pid, *worker.descendants(), os.getpid()]
            texts = list(processes(pids))
        assert json.loads(seen[1].stdout)["ok"] is True, seen[1]
        seen.append(moonsand("credentials", "list", env=env))
        with connect(server.url) as client:
            texts += stored(client)
            client.save()
        texts += [path.read_bytes() for path in (tmp_path / "redis").rglob("*") if path.is_file()]
    texts += [(one.stdout + one.stderr).encode() for one in seen]
    assert len(texts) > 20
    for form in forms:
        assert [text[:60] for text in texts if form.encode() in text] == []
