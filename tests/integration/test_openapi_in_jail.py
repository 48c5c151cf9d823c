"""From a document to a script: imported by the command, called from Lua inside the jail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from integrations.openapi.reading import MAX_ALIASES, MAX_DEPTH, MAX_DOCUMENT_BYTES, read_document
from integrations.stubs.openapi import OpenApiStub
from tests.command import moonsand
from tests.openapi_runs import DOCUMENTS, serving

pytestmark = pytest.mark.jail
DOCUMENT = DOCUMENTS / "orders-3.1.yaml"
SCRIPT = """
local orders = app.integrations.orders
local found = orders.find_orders({
  filter = { state = "open", min_total = 5 }, ids = { "o-1", "o 2" }, limit = 3,
})
local made = orders.place_order({
  sku = "tin & lid", count = 2, address = { city = "Bern", zip = "3000" }, tags = { "a", "b" },
})
orders.change_line({ order_id = made.id .. " b?", line = 1, if_match = "v7", count = 3 })
local left = orders.stock_of({ sku = "tin lid", x_warehouse = "north" }).left
local ok, refused = pcall(orders.find_orders, { filter = { state = "lost" } })
return { found = found[1].id, state = made.state, left = left, ok = ok, code = refused.code }
"""
RESULT = {"found": "o-1", "state": "open", "left": 7, "ok": False, "code": "invalid_arguments"}


@asynccontextmanager
async def stand_in(directory: Path) -> AsyncIterator[tuple[OpenApiStub, Path]]:
    """Serve the document; give the stand-in and an accounts file that leads to it."""
    stub = OpenApiStub(read_document(DOCUMENT.read_bytes()))
    async with serving(stub.app) as url:
        fields = stub.accounts(url)["default"]
        accounts = directory / "accounts.toml"
        lines = [f'{key} = "{one}"' for key, one in fields.items()]
        accounts.write_text("\n".join(["[orders.default]", *lines, ""]))
        yield stub, accounts


def import_orders(out: Path, *more: str, source: str = str(DOCUMENT), stdin: str = "") -> str:
    """Import the document with the real command; give what it said on stderr."""
    line = ["integrations", "import", source, "--name", "orders", "--host", "orders.example"]
    done = moonsand(*line, "--out", str(out), *more, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stderr


async def run_script(script: str, packs: Path, accounts: Path) -> dict[str, object]:
    """Run a script in the jail with the real command; give its JSON document."""
    files = ["--packs", str(packs), "--accounts", str(accounts)]
    done = await asyncio.to_thread(moonsand, "run", "--json", *files, "-e", script)
    document: dict[str, object] = json.loads(done.stdout)
    return document


async def test_a_script_calls_what_was_imported(tmp_path: Path) -> None:
    """Path, query, header, form and deep objects all arrive as the document says."""
    said = import_orders(tmp_path / "packs")
    assert "left out TRACE of 1 path (/orders)" in said
    assert "left out 1 webhook (orderShipped)" in said
    assert "left out the callbacks of 1 function (place_order)" in said
    async with stand_in(tmp_path) as (stub, accounts):
        result = await run_script(SCRIPT, tmp_path / "packs", accounts)

    assert result["result"] == RESULT, result
    assert stub.answered == [
        "GET /api/orders",
        "POST /api/orders",
        "PUT /api/orders/{order-id}/lines/{line}",
        "GET /api/stock/{sku}",
    ]


async def test_only_what_was_asked_for_exists(tmp_path: Path) -> None:
    """From stdin and with --only: a tag and an operation, and no other function for scripts."""
    text = DOCUMENT.read_text()
    only = ("--only", "stock,placeOrder")
    said = import_orders(tmp_path / "packs", *only, source="-", stdin=text)
    assert "callbacks" in said
    script = """
        local orders = app.integrations.orders
        local made = orders.place_order({ sku = "tin", address = { city = "Bern" } })
        local ok, refused = pcall(function() return orders.find_orders({}) end)
        return { made.id, orders.stock_of({ sku = "tin" }).left, tostring(refused) }
    """
    async with stand_in(tmp_path) as (stub, accounts):
        result = await run_script(script, tmp_path / "packs", accounts)

    assert isinstance(result["result"], list), result
    order, left, refused = result["result"]
    assert (order, left) == ("o-1", 7)
    assert "find_orders" in refused
    assert len(stub.answered) == 2


async def test_wrong_credentials_are_the_scripts_to_see(tmp_path: Path) -> None:
    """The stand-in checks who asks; the script gets the vendor's error and no credential."""
    import_orders(tmp_path / "packs")
    async with stand_in(tmp_path) as (stub, accounts):
        stub._keys["token"] = "another"
        script = """
            local ok, refused = pcall(app.integrations.orders.stock_of, { sku = "tin" })
            return { refused.status, tostring(refused) }
        """
        result = await run_script(script, tmp_path / "packs", accounts)

    assert isinstance(result["result"], list), result
    assert result["result"][0] == 401
    assert "stub-token-000001" not in json.dumps(result)


DEEP = "openapi: 3.1.0\npaths: " + "{a: " * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1)
ALIASES = "a: &a 1\nb: [" + ",".join(["*a"] * (MAX_ALIASES + 1)) + "]"
BOMB = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{','.join([f'*a{n}'] * 10)}]\n" for n in range(9)
)
LARGE = "openapi: 3.1.0\nx: " + "y" * MAX_DOCUMENT_BYTES


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (DEEP, f"nested deeper than {MAX_DEPTH} levels"),
        (DEEP.replace("openapi: 3.1.0\npaths: ", ""), f"nested deeper than {MAX_DEPTH} levels"),
        (ALIASES, f"more than {MAX_ALIASES} YAML aliases"),
        (BOMB, "values"),
        (LARGE, f"{MAX_DOCUMENT_BYTES} are allowed"),
        ("", "the document is empty"),
        ("openapi: 3.1.0\npaths: {/a: {trace: {}}}", "no operations"),
    ],
    ids=["deep", "deep-flow", "aliases", "bomb", "large", "empty", "only-trace"],
)
async def test_what_is_over_a_limit_is_refused_by_the_command(
    document: str, says: str, tmp_path: Path
) -> None:
    """One clear line, exit code 2, and no file is written."""
    out = tmp_path / "packs"
    line = ["integrations", "import", "-", "--name", "v", "--host", "v.example", "--out", str(out)]
    done = moonsand(*line, stdin=document)

    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not out.exists()
