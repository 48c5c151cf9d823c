"""One YAML file in a directory is a whole integration: no Python, called from Lua."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.calls import Effect
from integrations.accounts import Accounts, AccountsFile
from integrations.catalog import Catalog, PackInvalid
from runs.model import RunRequest, RunResult
from sandbox.outcome import Reason
from sandbox.supervisor import Sandbox
from tenancy.grants import Grants
from tests.command import environment, moonsand
from worker.local import run_local

PACK = r"""
format: 1
name: kiosk
title: Kiosk
summary: A made-up shop of newspapers.
homepage: https://kiosk.example
credentials:
  key: {label: API key, secret: true, required: true}
  shop: {label: Shop, required: true}
  region: {label: Region, default: eu}
  url: {label: Address}
auth: {scheme: header, header: X-Api-Key, value: key, prefix: "Kiosk "}
headers:
  X-Region: {credential: region}
  X-Version: {value: "2026-01-01"}
host: {default: "https://api.kiosk.example", field: url, pattern: 'https://[a-z]+\.kiosk\.example'}
errors: {code: [error.code, code], message: [error.text, reason, "detail.*.msg"]}
rates: {slow: {per_s: 2, burst: 1}, tiny: {per_s: 0.01}}
idempotency: {header: Idempotency-Key}
functions:
  - name: order
    title: Order
    effect: write
    description: Order papers.
    parameters:
      properties:
        paper: {type: string, x-trim: true, x-aliases: {nyt: times}, enum: [times, post]}
        copies: {type: integer, minimum: 1, default: 1}
        number: {type: string, x-number-as-text: true}
        address: {type: object, x-json-text: true}
        notes: {type: array, items: {type: string}}
        region: {type: string}
        raw: {type: object}
      required: [paper]
    request:
      method: POST
      path: /shops/{credentials.shop}/orders
      headers: {X-Region: {from: region, credential: region}}
      body:
        paper: paper
        copies: copies
        number: number
        address: address
        notes: notes
        options: {from: raw, inner: {color: colour}, object: {copies: copies}}
    response: {success: [200], require: {at: ok, equals: true}}
    example:
      lua: return app.integrations.kiosk.order({ paper = "times" })
      arguments: {paper: times}
      reply: {ok: true}
  - name: papers
    title: Papers
    effect: read
    rate: slow
    description: List papers.
    parameters: {properties: {tags: {type: array, items: {type: string}}}}
    request: {method: GET, path: /papers, query: {tag: tags}}
    example: {lua: return app.integrations.kiosk.papers(), reply: {papers: []}}
  - name: never
    title: Never
    effect: read
    rate: tiny
    description: A slow function.
    request: {method: GET, path: /papers}
    example: {lua: return app.integrations.kiosk.never(), reply: {papers: []}}
"""


class Shop(ThreadingHTTPServer):
    """The made-up vendor: keeps requests, and answers what it is told, or that all is well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Counter)
        self.requests: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any] | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Counter(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Shop

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        pass

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.loads(raw) if raw else None
        self.server.requests.append({"path": self.path, "headers": headers, "body": body})
        given = self.server.answers.pop(0) if self.server.answers else (200, {"ok": True})
        if given is None:  # it was done, and nobody hears of it
            self.close_connection = True
            return
        text = json.dumps(given[1]).encode()
        self.send_response(given[0])
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def shop() -> Iterator[Shop]:
    """The vendor, running."""
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """A directory with the one pack."""
    directory = tmp_path / "packs"
    directory.mkdir()
    (directory / "kiosk.yaml").write_text(PACK)
    return directory


def toml(shop: Shop) -> str:
    """Give an accounts file."""
    return f'[kiosk.default]\nkey = "sesame-open"\nshop = "corner/7"\nurl = "{shop.url}"\n'


def run_script(packs: Path, shop: Shop, script: str) -> RunResult:
    """Run a script in the jail, with the pack beside the built-in ones."""
    catalog = Catalog.load(operator=packs)
    accounts = AccountsFile.parse(toml(shop).replace("corner/7", "corner7"), catalog, {})
    return asyncio.run(_run(catalog, accounts.for_tenant(None), script))


async def _run(catalog: Catalog, accounts: Accounts, script: str) -> RunResult:
    async with Sandbox(1) as sandbox:
        return await run_local(
            RunRequest(script=script),
            sandbox=sandbox,
            catalog=catalog,
            accounts=accounts,
            grants=Grants.everything(),
        )


ORDER = """
return app.integrations.kiosk.order({
  paper = " nyt ", number = 7, address = '{"street": "Main"}', notes = {},
  raw = { colour = "red", copies = 9 }, copies = 2.0,
})
"""


@pytest.mark.jail
class TestCalling:
    def test_a_call_is_the_request_the_file_says(self, packs: Path, shop: Shop) -> None:
        """Headers, path, merged body, spellings: all from data."""
        result = run_script(packs, shop, ORDER)
        assert (result.reason, result.result) == (Reason.OK, {"ok": True})
        (request,) = shop.requests
        assert request["path"] == "/shops/corner7/orders"
        headers = request["headers"]
        assert headers["x-api-key"] == "Kiosk sesame-open"
        assert (headers["x-region"], headers["x-version"]) == ("eu", "2026-01-01")
        assert "authorization" not in headers
        assert len(headers["idempotency-key"]) == 64
        assert request["body"] == {
            "paper": "times",
            "copies": 2,
            "number": "7",
            "address": {"street": "Main"},
            "notes": [],
            "options": {"color": "red", "copies": 2},
        }

    def test_a_lost_write_is_sent_again_with_its_key(self, packs: Path, shop: Shop) -> None:
        """The vendor takes a key, so an answer that got lost does not end the run."""
        shop.answers = [None, (503, {}), (200, {"ok": True})]
        script = ORDER + ' , app.integrations.kiosk.order({ paper = "post", region = "us" })'
        result = run_script(packs, shop, script)
        assert (result.reason, result.error) == (Reason.OK, None)
        keys = [one["headers"]["idempotency-key"] for one in shop.requests]
        assert keys[0] == keys[1] == keys[2] != keys[3]
        assert shop.requests[3]["headers"]["x-region"] == "us"

    def test_a_write_nobody_confirms_stays_unknown(self, packs: Path, shop: Shop) -> None:
        """A later answer that says no does not settle what an earlier try did."""
        shop.answers = [None, (409, {"reason": "in progress"})]
        result = run_script(packs, shop, ORDER)
        assert result.reason is Reason.EFFECT_UNKNOWN
        assert [call.effect for call in result.calls] == [Effect.UNKNOWN]

    @pytest.mark.parametrize(
        ("status", "body", "code", "words"),
        [
            (200, {"ok": False, "code": 7, "reason": "sold out"}, "7", "sold out"),
            (201, {"error": {"code": "late", "text": "too late"}}, "late", "too late"),
            (422, {"detail": [{"msg": "one"}, {"msg": "two"}]}, "invalid", "one; two"),
        ],
    )
    def test_what_is_no_success(  # noqa: PLR0917
        self, packs: Path, shop: Shop, status: int, body: Any, code: str, words: str
    ) -> None:
        """Exact statuses, what a body must say, and the first error shape that fits."""
        shop.answers = [(status, body)]
        script = 'local _, e = pcall(app.integrations.kiosk.order, { paper = "post" })'
        result = run_script(packs, shop, f"{script} return {{ e.status, e.code, tostring(e) }}")
        assert result.result[:2] == [status, code]
        assert words in result.result[2]
        assert [call.effect for call in result.calls] == [Effect.FAILED]

    @pytest.mark.parametrize(
        ("argument", "problem"),
        [
            ('paper = "news"', 'paper must be "times" or "post"'),
            ('paper = "post", address = "Main"', "address must be a table with named keys"),
            ('paper = "post", address = "[1]"', "address must be a table with named keys"),
            ('paper = "post", region = "a\\r\\nX-Evil: 1"', "the header X-Region must be"),
        ],
    )
    def test_bad_arguments_send_nothing(
        self, packs: Path, shop: Shop, argument: str, problem: str
    ) -> None:
        """The refusal says what is wrong and that nothing was called."""
        result = run_script(packs, shop, f"app.integrations.kiosk.order({{ {argument} }})")
        assert result.error is not None
        assert problem in result.error.message
        assert "no external call was made" in result.error.message
        assert not shop.requests

    def test_rates_are_waited_for_or_said(self, packs: Path, shop: Shop) -> None:
        """A call waits for its bucket; one that cannot wait so long says when."""
        script = """
            app.integrations.kiosk.papers({ tags = { "a", "b" } })
            app.integrations.kiosk.papers()
            app.integrations.kiosk.never()
            local _, e = pcall(app.integrations.kiosk.never)
            return { e.code, e.retriable, e.retry_after > 30, tostring(e) }
        """
        result = run_script(packs, shop, script)
        assert result.result[:3] == ["rate_limited", True, True]
        assert "no external call was made" in result.result[3]
        assert [one["path"] for one in shop.requests] == ["/papers?tag=a&tag=b", *["/papers"] * 2]
        assert result.usage.wall_ms >= 500  # between the two tokens; both calls lie within it

    def test_the_command_takes_the_directory(self, packs: Path, shop: Shop, tmp_path: Path) -> None:
        """`moonsand run` finds the packs by option or variable, and the docs know them."""
        (tmp_path / "accounts.toml").write_text(toml(shop).replace("corner/7", "corner7"))
        script = 'print(docs.read("kiosk.order"):match("Order papers"))' + ORDER
        done = moonsand(
            *("run", "-e", script, "--accounts", str(tmp_path / "accounts.toml")),
            env=environment(MOONSAND_PACKS_DIR=str(packs)),
        )
        assert done.returncode == 0, done.stderr
        assert "Order papers" in done.stdout


class TestDirectories:
    def test_a_slash_in_an_accounts_value_goes_nowhere(self, packs: Path, shop: Shop) -> None:
        """A credential in the path is one segment, as a parameter is."""
        catalog = Catalog.load(operator=packs)
        accounts = AccountsFile.parse(toml(shop), catalog, {}).for_tenant(None)
        result = asyncio.run(_run(catalog, accounts, ORDER))
        assert result.error is not None
        assert "shop must be an ID" in result.error.message
        assert not shop.requests

    def test_a_name_that_is_taken_is_refused(self, tmp_path: Path) -> None:
        """No pack of a directory takes the place of a built-in one without a word."""
        (tmp_path / "mux.yaml").write_text(PACK.replace("name: kiosk", "name: mux"))
        with pytest.raises(PackInvalid, match="two integrations have the same name"):
            Catalog.load(operator=tmp_path)

    def test_a_missing_directory_is_an_error_of_use(self, tmp_path: Path) -> None:
        """The command says so in one line, and runs nothing."""
        done = moonsand("run", "-e", "return 1", "--packs", str(tmp_path / "none"))
        assert done.returncode == 2
        assert done.stderr == "moonsand: packs directory none: No such file or directory\n"

    def test_an_adapter_that_does_not_exist_is_found_at_load(self, tmp_path: Path) -> None:
        """A pack cannot name code that is not there."""
        text = PACK.replace("    effect: write\n", "    effect: write\n    adapter: no.such\n")
        (tmp_path / "kiosk.yaml").write_text(text)
        with pytest.raises(PackInvalid, match=r"there is no adapter no\.such"):
            Catalog.load(operator=tmp_path)
