"""
A whole service with a canary in every credential: afterwards none stands anywhere.

Searched are all of Redis and its files, the ledger's archive, whose payloads are in the clear here,
with its tiles and checkpoints, logs at level debug, every answer over HTTP, command lines and
environments of all processes, and the memory of the zygote and of a child at work.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import redis

from core import keys
from core.redis_client import connect, connect_async
from core.redis_server import PrivateRedis
from integrations.pack import Pack
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault, FaultKind
from ledger.notes import SigningKey
from ledger.sqlite_archive import NAME
from tenancy.keys import KeyStore
from tenancy.master_keys import MasterKeys, new_line
from tenancy.scopes import Role
from tenancy.sealing_key import SealingKey
from tenancy.vault import Vault
from tests import canary
from tests.command import environment
from tests.deadline import Deadline
from tests.example_runs import EXAMPLES
from tests.shipped import CATALOG
from tests.worker_processes import cpu_ticks, descendants_of

pytestmark = [pytest.mark.jail, pytest.mark.timeout(480)]
SEED = "canary-signing-key-of-32-bytes!!"
SIGNING = SigningKey("log.example.org/canary", SEED.encode())
PACKS = {name: one.pack for name, one in CATALOG.integrations.items() if one.pack is not None}
#: Everything that is quoted, escaped or cut somewhere.
ODD = "/+=% \"'\\<&>{}|;$`~"
BEHAVIOUR: tuple[FaultKind, ...] = (
    *("refuse", "drop", "drop_body", "oversize", "gzip_bomb", "delay"),
)
CALL = """
local group = app.integrations[input.integration]
local ok, problem = pcall(group[input["function"]], input.arguments)
print(ok, problem)
local seen = {}
local function walk(value, depth)
  if type(value) ~= "table" or seen[value] or depth > 6 then return tostring(value) end
  seen[value] = true
  local list = {}
  for key, one in pairs(value) do
    list[#list + 1] = tostring(key) .. "=" .. walk(one, depth + 1)
  end
  return table.concat(list, ",")
end
return { ok = ok, problem = problem, text = tostring(problem), surface = walk(_G, 0) }
"""


@dataclass
class Service:
    """
    API, worker and sequencer of one Redis, logging everything.

    `heard` is all that the API answered.
    """

    http: httpx2.AsyncClient
    redis_url: str
    masters: MasterKeys
    redis: redis.Redis
    pids: list[int]
    heard: list[canary.Text] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    async def key_of(self, tenant: str) -> str:
        """Give a key of a tenant, the same one each time."""
        if tenant not in self.keys:
            async with connect_async(self.redis_url) as client:
                made = await KeyStore(client).create(tenant, "test", scopes=Role.ADMIN.scopes)
                self.keys[tenant] = made[0]
        return self.keys[tenant]

    async def ask(self, tenant: str, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Send one request and keep what was answered."""
        headers = {"Authorization": f"Bearer {await self.key_of(tenant)}"}
        answer = await self.http.request(method, path, json=body, headers=headers)
        text = repr(answer.headers).encode() + answer.content
        self.heard.append((f"answer to {method} {path} of {tenant}", text))
        return answer

    async def run(self, tenant: str, script: str, **more: Any) -> dict[str, Any]:
        """Run a script to its end, and look at its record and its events."""
        body = {"script": script, "wait_s": 30, **more}
        record = (await self.ask(tenant, "POST", "/v1/runs", body)).json()
        for part in ("", "/events", "/receipt"):
            await self.ask(tenant, "GET", f"/v1/runs/{record['id']}{part}")
        return dict(record)


@contextmanager
def logged(path: Path, *arguments: str, fd: int | None = None, **env: str) -> Iterator[int]:
    """Start one process of ours with its output in a file; stop it at the end."""
    env |= {
        "MOONSAND_LOG_LEVEL": "debug",
        "PYTHONASYNCIODEBUG": "1",
        "MOONSAND_SHUTDOWN_GRACE_S": "1",
    }
    with path.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-m", "moonsand", *arguments],
            env=environment(None, **env), stdout=out, stderr=out,
            pass_fds=() if fd is None else (fd,),
        )  # fmt: skip
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)


@asynccontextmanager
async def service(directory: Path, stubs: Stubs, master: str) -> AsyncIterator[Service]:
    """Start everything; the accounts of the stand-ins are in the accounts file too."""
    keys_file, accounts = directory / "vault.keys", directory / "accounts.toml"
    keys_file.write_text(master)
    accounts.write_text(stubs.accounts_toml)
    signing, ledger, witness = (directory / one for one in ("log.secret", "ledger", "witness"))
    witness.mkdir()
    signing.write_text(SIGNING.secret())
    masters = MasterKeys.parse(master)
    async with AsyncExitStack() as stack:
        url = stack.enter_context(PrivateRedis(directory / "redis")).url
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sealing = SealingKey.of_masters(masters).line()
        api = stack.enter_context(
            logged(directory / "api.log", "api", "--fd", str(listener.fileno()),
                   fd=listener.fileno(), REDIS_URL=url, MOONSAND_VAULT_SEALING_KEY=sealing,
                   MOONSAND_LEDGER_DIR=str(ledger))
        )  # fmt: skip
        sequencer = stack.enter_context(
            logged(directory / "sequencer.log", "sequencer", REDIS_URL=url,
                   MOONSAND_LEDGER_DIR=str(ledger), MOONSAND_LEDGER_KEY_FILE=str(signing),
                   MOONSAND_LEDGER_TILES=str(directory / "tiles"), MOONSAND_LEDGER_CHECKPOINT_S="1",
                   MOONSAND_LEDGER_WITNESS=str(witness))
        )  # fmt: skip
        worker = stack.enter_context(
            logged(directory / "worker.log", "worker", "--slots", "4", REDIS_URL=url,
                   MOONSAND_ACCOUNTS=str(accounts), MOONSAND_VAULT_KEYS_FILE=str(keys_file))
        )  # fmt: skip
        client = stack.enter_context(connect(url))
        Deadline().until(lambda: client.smembers("rq:workers"), "the worker", seconds=40)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        http = httpx2.AsyncClient(base_url=address, timeout=40, trust_env=False)
        await stack.enter_async_context(http)
        yield Service(http, url, masters, client, [api, worker, sequencer])


def odd_account(name: str, pack: Pack, tenant: str, host: str | None) -> dict[str, str]:
    """Give an account whose every field is a canary, at `host` if the pack takes one."""
    fields = {
        field: f"canary-{tenant}-{name}-{field}" + (ODD if one.secret else "")
        for field, one in pack.credentials.items()
        if field != pack.host.field
    }
    if pack.host.field is not None and host is not None:
        fields[pack.host.field] = host
    return fields


def planted(tenants: list[str]) -> set[bytes]:
    """Give every form of every secret of `odd_account`."""
    found: set[bytes] = set()
    for tenant in tenants:
        for name, pack in PACKS.items():
            fields = odd_account(name, pack, tenant, None)
            user = fields[pack.auth.username] if pack.auth.scheme == "basic" else None
            for field_name, value in fields.items():
                if pack.credentials[field_name].secret:
                    found |= canary.forms(value, user)
    return found


def trial(name: str) -> tuple[str, dict[str, Any]]:
    """Give a function that reads, and arguments for it."""
    functions = [one for one in PACKS[name].functions if one.effect == "read"]
    one = next((one for one in functions if one.request is not None), functions[0])
    return one.name, dict(one.example.arguments)


async def fill(served: Service, stubs: Stubs) -> None:
    """Accounts: the stand-ins' and odd ones by the operator, odd ones by a tenant over HTTP."""
    async with connect_async(served.redis_url) as client:
        vault = Vault(client, served.masters)
        for name, one in stubs.served.items():
            for account, fields in one.stub.accounts(one.url).items():
                await vault.set("acme", name, account, fields)
            odd = odd_account(name, PACKS[name], "globex", one.url)
            await vault.set("globex", name, "default", odd)
    for name in stubs.served:
        host = "https://canary-otter-1.convex.cloud" if name == "convex" else None
        path = f"/v1/credentials/{name}/default"
        body = {"fields": odd_account(name, PACKS[name], "initech", host)}
        assert (await served.ask("initech", "PUT", path, body)).status_code == 200
        bad = {"fields": {**body["fields"], "no_such_field": "x"}}
        assert (await served.ask("initech", "PUT", path, bad)).status_code == 422
    await served.ask("initech", "GET", "/v1/credentials")
    await served.ask("initech", "POST", "/v1/credentials/rotate")


async def run_examples(served: Service, stubs: Stubs, tenant: str, *, succeed: bool) -> None:
    """Run every example of every vendor."""
    for path in sorted(EXAMPLES.glob("*/*.lua")):
        stubs.reset()
        record = await served.run(tenant, path.read_text(), name=path.stem)
        assert not succeed or record["status"] == "succeeded", (path, record)


def echoes(name: str, tenant: str, stubs: Stubs) -> Iterator[Fault]:
    """A vendor that says what it was sent: in replies, errors, keys, headers, in many codes."""
    fields = odd_account(name, PACKS[name], "globex", None)
    if tenant != "globex":
        fields = dict(stubs[name].stub.accounts("http://stub")["default"])
    secrets = [one for field, one in fields.items() if PACKS[name].credentials[field].secret]
    said: list[str] = []
    for secret in secrets:
        made = canary.forms(secret)
        # What is inside of a longer text in base 64, or backwards, is not known for what it is.
        exact = {secret, orjson.dumps(secret)[1:-1].decode(), secret.encode().hex()}
        said += sorted(one for one in exact if one.encode() in made)
    body = {"message": said, "error": {"type": said[0], "messages": said, "message": said[0]}}
    echo = orjson.dumps({**body, "data": [{one: one} for one in said], "status": "success"})
    headers = {"x-request-id": said[0].encode("ascii", "replace").decode()}
    for status in (200, 400, 401, 429, 500):
        yield Fault("answer", status=status, body=echo, headers=headers, times=2)


async def misbehave(served: Service, stubs: Stubs, tenant: str) -> None:
    """Every vendor echoes, breaks off, floods, is slow; and is called wrongly."""
    for name in stubs.served:
        function, arguments = trial(name)
        given = {"integration": name, "function": function, "arguments": arguments}
        faults = [*echoes(name, tenant, stubs)]
        if tenant == "globex":
            faults += [Fault(kind, times=3, bytes=8 << 20, seconds=5) for kind in BEHAVIOUR]
        for fault in faults:
            stubs.reset()
            stubs[name].faults.add(fault)
            await served.run(tenant, CALL, input=given, limits={"wall_ms": 500})
        stubs.reset()
        wrongs: tuple[Any, ...] = ({"no_such": 1}, {"limit": {}}, [])
        for wrong in wrongs:
            await served.run(tenant, CALL, input={**given, "arguments": wrong})
        await served.ask(tenant, "POST", f"/v1/credentials/{name}/default/test")


async def look_inside(served: Service) -> list[canary.Text]:
    """Search the processes while a child works, then kill that child."""
    endless = "return ('a'):rep(40):find(('a-'):rep(40) .. 'b')"  # within C: no count ends it
    body = {"script": endless, "limits": {"cpu_ms": 60_000}}
    run = (await served.ask("acme", "POST", "/v1/runs", body)).json()["id"]

    async def running() -> bool:
        answer = await served.ask("acme", "GET", f"/v1/runs/{run}")
        return bool(answer.json()["status"] == "running")

    await Deadline().reached(running, "the run")

    async def at_work() -> tuple[int, int] | None:
        for zygote in descendants_of(served.pids[1]):
            children = descendants_of(zygote)
            if children and cpu_ticks(children[0]) >= 20:  # spare ones use none
                return zygote, children[0]
        return None

    found = await Deadline().reached(at_work, "the child at work", seconds=30)
    assert found is not None
    jailed = descendants_of(served.pids[1])
    texts = [*canary.processes([*served.pids, *jailed, os.getpid()])]
    for pid in found:
        texts += canary.memory(pid)
    os.kill(found[1], 9)

    async def ended() -> bool:
        answer = await served.ask("acme", "GET", f"/v1/runs/{run}")
        return bool(answer.json()["reason"] == "crashed")

    await Deadline().reached(ended, "the end of the run")
    return texts


def look_into_archive(served: Service, directory: Path) -> list[canary.Text]:
    """Search the ledger's archive when all is in it: every value, and its files in use."""
    taken = Deadline()
    taken.until(lambda: served.redis.xlen(keys.LEDGER_INBOX) == 0, "the ledger", seconds=60)
    taken.until(lambda: any((directory / "witness").iterdir()), "a checkpoint", seconds=20)
    archive = directory / "ledger" / NAME
    texts = [*canary.archived(archive), *canary.files(archive.parent)]
    read = b"".join(text for _, text in texts)
    # Replies, scripts, results and terms are there, readable: what is searched is what was kept.
    assert all(one in read for one in (b"default-intro", b"app.integrations", b"run.finished"))
    return texts


async def test_no_credential_is_found_anywhere(tmp_path: Path, stubs: Stubs) -> None:
    """Every secret of every pack, through vault, file and HTTP, in use, in error and in a crash."""
    master = new_line("one")
    async with service(tmp_path, stubs, master) as served:
        await fill(served, stubs)
        await run_examples(served, stubs, "development", succeed=True)
        await run_examples(served, stubs, "acme", succeed=True)
        await run_examples(served, stubs, "globex", succeed=False)
        for tenant in ("development", "globex"):
            await misbehave(served, stubs, tenant)
        for name in stubs.served:
            given = {"integration": name, "function": trial(name)[0], "arguments": {"no_such": 1}}
            await served.run("initech", CALL, input=given)
        texts = await look_inside(served)
        texts += look_into_archive(served, tmp_path)
        texts += canary.stored(served.redis)
        worker = [*canary.memory(served.pids[1])]
    texts += [*served.heard, *canary.files(tmp_path)]
    secrets = canary.stub_secrets() | planted(["globex", "initech"])
    secrets |= canary.forms(master.partition(":")[2]) | canary.forms(SEED)
    # Where they have to be they are found: what is searched is what was used.
    assert worker == [] or canary.found_in(worker, secrets) != []
    assert len(texts) > 1_000
    logs = {"api.log", "worker.log", "sequencer.log"}
    assert {one.rpartition(" ")[2] for one, _ in texts} >= logs | {"tiles/checkpoint"}
    assert canary.found_in(texts, secrets) == []


def remembered(secret: str) -> list[canary.Text]:
    """Search the memory of a process that has read a secret; a test's own is large."""
    reads = "import sys; kept = sys.stdin.readline(); print(flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", reads],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{secret}\n")
        process.stdin.flush()
        process.stdout.readline()
        texts = [*canary.memory(process.pid)]
        process.stdin.close()
    return texts


@pytest.mark.parametrize("place", ["redis", "log", "memory", "base64", "hex", "api key", "archive"])
def test_the_search_finds_what_is_there(
    place: str, tmp_path: Path, redis_sync: redis.Redis
) -> None:
    """A canary put by hand where it should not be is found, in whatever form."""
    secret = "put-there-by-hand" + ODD  # without the mark that is searched for at the end
    wanted = canary.forms(secret, "user")
    if place == "redis":
        redis_sync.xadd("ms:tape:x", {"body": orjson.dumps({"echo": [secret]})})
        texts = [*canary.stored(redis_sync)]
    elif place == "memory":
        texts = remembered(secret)
    elif place == "archive":
        with closing(sqlite3.connect(tmp_path / NAME)) as db, db:
            db.execute("CREATE TABLE kept (data BLOB)")
            # Longer than a page: in the file it is in pieces.
            db.execute("INSERT INTO kept VALUES (?)", [f"{secret}, ".encode() * 1_000])
        texts = [*canary.archived(tmp_path / NAME)]
    else:
        text = {
            "log": orjson.dumps({"event": f"sent {secret}"}),
            "base64": b"Basic " + b64encode(f"longer-user:{secret}".encode()),
            "hex": b"ff" + secret.encode().hex().encode(),
            "api key": b"key ms_live_" + b"a" * 43 + b"_" + b"b" * 6,
        }[place]
        texts = [("some.log", text)]
        if place != "api key":
            (tmp_path / "some.log").write_bytes(text)
            texts = [*canary.files(tmp_path)]
    assert canary.found_in(texts, wanted) != []
