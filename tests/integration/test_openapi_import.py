"""Every operation of an imported document can be called, as the document itself says."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from integrations.accounts import Credentials
from integrations.openapi import ImportRefused, import_document
from integrations.request import build
from tests.command import moonsand
from tests.openapi_runs import DOCUMENTS, imported, loaded, served

pytestmark = pytest.mark.anyio
FILES = ["petstore-2.0.yaml", "cyclic-3.0.json", "weird-3.1.yaml"]


@pytest.mark.parametrize("name", FILES)
async def test_every_operation_answers(name: str, tmp_path: Path) -> None:
    """Import, load and call: the stand-in of the same document finds nothing wrong."""
    async with served((DOCUMENTS / name).read_bytes(), tmp_path) as service:
        assert await service.call_all() == {}
        assert len(set(service.stub.answered)) == service.imported.operations


async def test_the_stand_in_refuses_what_the_document_forbids(tmp_path: Path) -> None:
    """A stand-in that took anything would prove nothing."""
    raw = (DOCUMENTS / "weird-3.1.yaml").read_bytes()
    async with served(raw, tmp_path) as service:
        service.stub._keys["key"] = "another"
        assert (await service.error("end_", {}))["status"] == 401
    raw = (DOCUMENTS / "cyclic-3.0.json").read_bytes()
    async with served(raw, tmp_path) as service:
        nested = {"label": "a", "children": [{"children": [{"children": [{"label": 5}]}]}]}
        error = await service.error("nodes_create", nested)
        assert error["status"] in {None, 422}


async def test_names_are_usable_and_stay_the_same() -> None:
    """Keywords, doubles, digits, nothing usable, and too long; `--only` changes no name."""
    raw = (DOCUMENTS / "weird-3.1.yaml").read_bytes()
    made = imported(raw)
    for name in ("end_", "end_2", "default_", "operation_2fa_status", "get_snowman", "head_head"):
        assert f"- name: {name}\n" in made.yaml
    only = import_document(raw, name="vendor", host="a.example", only=["End", "note"])
    assert only.operations == 3
    assert "- name: end_2\n" in only.yaml


async def test_collisions_get_names_of_their_own(tmp_path: Path) -> None:
    """One name in path, query and body, and that of the function, are four parameters."""
    catalog = loaded(imported((DOCUMENTS / "weird-3.1.yaml").read_bytes()), tmp_path)
    function = catalog.function("vendor", "put_thing")
    wanted = {"id", "query_id", "query_put_thing", "x_id", "body_id", "for_", "on", "body"}
    assert set(function.properties) == wanted | {"x_version"}
    assert catalog.function("vendor", "end_2").effect_class == "read"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("openapi: 3.1.0\nwebhooks: {a: {post: {}}}", "only webhooks"),
        ("openapi: 3.0.0\npaths: {}", "no operations"),
        ("openapi: 4.0.0\npaths: {}", "4.0.0"),
        ("[1]", "not an object"),
        ("a: &a [*a]", "deeper"),
        ("[" * 100_000, "deeper"),
        ("[1,", "neither JSON nor YAML"),
        ("a: " + "[" * 100_000, "deeper"),
        ("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"a{n + 1}: &a{n + 1} [{','.join([f'*a{n}'] * 10)}]\n" for n in range(9)
        ), "more than"),
        ("a0: &a0 {x: 1}\n" + "".join(
            f"a{n + 1}: &a{n + 1} {{<<: [{','.join([f'*a{n}'] * 10)}], k{n}: 1}}\n"
            for n in range(9)
        ), "more than"),
        ("openapi: 3.0.0\npaths: {/a: {get: {parameters: [{$ref: 'https://x.example/p.yaml'}]}}}",
         "external reference"),
        ("openapi: 3.0.0\npaths: {/a: {get: {parameters: [{$ref: '#/nowhere'}]}}}", "nowhere"),
        ("openapi: 3.0.0\npaths: {/a: {$ref: 'other.yaml#/a'}}", "external reference"),
        ("openapi: 3.0.0\npaths: {/a: {get: {parameters: 5}}}", "malformed"),
    ],
)  # fmt: skip
async def test_what_cannot_be_imported_is_refused_in_words(document: str, says: str) -> None:
    """Bombs, other people's files and empty documents end in one sentence."""
    with pytest.raises(ImportRefused, match=says):
        imported(document.encode())


@pytest.mark.parametrize("host", [None, "http://a.example", "https://u@a.example", "a b", "a/../b"])
async def test_the_address_is_given_by_a_person(host: str | None) -> None:
    """Nothing a document says decides where credentials go."""
    with pytest.raises(ImportRefused, match="--host"):
        import_document((DOCUMENTS / FILES[0]).read_bytes(), name="v", host=host)


@pytest.mark.parametrize(
    ("auth", "found"),
    [
        ("bearer", "scheme: bearer"),
        ("basic", "scheme: basic"),
        ("none", "scheme: none"),
        ("header:Authorization:Bot ", "prefix: 'Bot '"),
        ("query:api_key", "parameter: api_key"),
        ("scheme:key", "header: X-Shop-Key"),
    ],
)
async def test_authentication_can_be_said_by_hand(auth: str, found: str, tmp_path: Path) -> None:
    """Documents say it wrongly often enough; each form works against a stand-in that checks it."""
    raw = (DOCUMENTS / FILES[0]).read_bytes()
    assert found in imported(raw, auth=auth).yaml
    async with served(raw, tmp_path, auth=auth) as service:
        assert await service.call_all() == {}


async def test_bodies_and_queries_are_written_as_the_document_says(tmp_path: Path) -> None:
    """The request, not only its acceptance: styles differ in ways a lenient reader would miss."""
    catalog = loaded(imported((DOCUMENTS / "cyclic-3.0.json").read_bytes()), tmp_path)
    function = catalog.function("vendor", "find")
    pack = catalog.integrations["vendor"].pack
    assert pack is not None
    account = Credentials("vendor", "default", {"username": "u", "password": "p"})
    arguments = {"filter": {"age": 3}, "ids": [1, 2], "point": {"x": 4}, "where": {"a": True}}
    request = build(function, pack, arguments, account)
    assert unquote(request.url) == (
        'https://api.vendor.example/api/v1/find?filter[age]=3&ids=1,2&x=4&where={"a":true}'
    )
    assert request.headers["Accept"] == "text/csv"


def test_the_command_writes_a_pack_that_lints(tmp_path: Path) -> None:
    """From a file to a directory that loads, and no file is replaced unasked."""
    document, out = str(DOCUMENTS / "petstore-2.0.yaml"), str(tmp_path / "packs")
    line = ["integrations", "import", document, "--name", "pets", "--host", "pets.example"]
    first = moonsand(*line, "--out", out)
    assert first.returncode == 0, first.stderr
    assert "6 functions; an account needs api_key" in first.stdout
    again = moonsand(*line, "--out", out)
    assert again.returncode == 2
    assert "--force" in again.stderr
    lint = moonsand("integrations", "lint", out)
    assert lint.returncode == 0, lint.stdout


def test_names_of_a_document_are_kept_on_their_line(tmp_path: Path) -> None:
    """No name makes a line of its own in what is told, nor reaches a terminal as it is."""
    header = {"name": "X\r\nnote: all is well\x1b[2J", "in": "header", "schema": {"type": "string"}}
    operation = {"operationId": "a", "parameters": [header], "responses": {"200": {}}}
    info = {"title": "x", "version": "1"}
    document = {"openapi": "3.0.0", "info": info, "paths": {"/a": {"get": operation}}}
    (tmp_path / "odd.json").write_text(json.dumps(document))
    line = ["integrations", "import", str(tmp_path / "odd.json"), "--name", "odd"]
    done = moonsand(*line, "--host", "odd.example", "--auth", "none", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "left out header X note: all is well" in done.stderr
    assert "\x1b" not in done.stderr
    assert not any(one.startswith("note: all") for one in done.stderr.splitlines())


async def test_files_and_forms_are_written_in_parts(tmp_path: Path) -> None:
    """A file goes out with its name and bytes; what is no base64 goes nowhere."""
    async with served((DOCUMENTS / "petstore-2.0.yaml").read_bytes(), tmp_path) as service:
        given = {"pet_id": "7", "file": {"filename": "a.bin", "base64": "AP8="}}
        await service.value("upload_photo", given)
        given["file"] = {"filename": "a.bin", "base64": "not base64"}
        error = await service.error("upload_photo", given)
        assert error["code"] == "invalid_arguments"
        assert "no external call was made" in error["message"]
        assert service.stub.answered == ["POST /v2/pets/{pet-ID}/photo"]


async def test_a_key_in_the_query_is_not_shown(tmp_path: Path) -> None:
    """What shows a request shows no credential, also where it stands in the address."""
    raw = (DOCUMENTS / "weird-3.1.yaml").read_bytes()
    async with served(raw, tmp_path) as service:
        account = service.run.accounts.get("vendor", "default")
        request = build(service.catalog.function("vendor", "note"), service.pack, {}, account)
        assert "stub-key-000001" in request.url
        assert "stub-key-000001" not in repr(request)
