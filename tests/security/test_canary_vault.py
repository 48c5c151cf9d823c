"""A secret that went through the vault, a worker and a vendor stands nowhere in the clear."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from core.redis_client import connect
from core.redis_server import PrivateRedis
from integrations.stubs import Stubs
from tenancy.master_keys import new_line
from tests import canary
from tests.command import environment, moonsand
from tests.worker_processes import running_worker

pytestmark = pytest.mark.jail


def test_no_secret_is_found_anywhere(tmp_path: Path, stubs: Stubs) -> None:
    """Set by the command, used by a run, then searched for: Redis, its files, processes, output."""
    secret, master = "stub-mux-default-secret", new_line("canary")
    keys_file = tmp_path / "vault.keys"
    keys_file.write_text(master)
    forms = canary.forms(secret, "stub-mux-default-id") | canary.forms(master.partition(":")[2])
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
            texts = list(canary.processes(pids))
        assert json.loads(seen[1].stdout)["ok"] is True, seen[1]
        seen.append(moonsand("credentials", "list", env=env))
        with connect(server.url) as client:
            texts += canary.stored(client)
            client.save()
        texts += canary.files(tmp_path)
    texts += [("output", (one.stdout + one.stderr).encode()) for one in seen]
    assert len(texts) > 20
    assert canary.found_in(texts, forms) == []
