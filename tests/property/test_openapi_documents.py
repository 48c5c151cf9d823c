"""Documents nobody wrote: each imports, and each function's example is what the document asks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx2
import orjson
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.accounts import Credentials
from integrations.arguments import bind
from integrations.function import vendor_integration
from integrations.openapi import ImportRefused
from integrations.openapi.reading import read_document
from integrations.pack import Pack
from integrations.request import build
from integrations.secret import Secret
from integrations.stubs.openapi import OpenApiStub
from tests.openapi_runs import imported

WORDS = st.sampled_from(
    ["id", "end", "default", "petId", "x-y", "2fa", "Ünïcode", "a.b", "items[]"]
)
TEXTS = st.builds(
    lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
    st.integers(0, 5),
    st.integers(0, 5),
)
SCALARS = st.one_of(
    TEXTS,
    st.builds(lambda low: {"type": "integer", "minimum": low}, st.integers(-9, 9)),
    st.just({"type": "boolean"}),
    st.just({"type": "number", "exclusiveMinimum": True, "minimum": 2}),
    st.just({"enum": ["in", "out"], "nullable": True}),
    st.just({"$ref": "#/components/schemas/Loop"}),
    st.just({"type": "string", "pattern": "^[a-f]{2}-\\d+$"}),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(lambda one: {"type": "array", "items": one, "minItems": 1}, inner),
        st.builds(lambda one: {"oneOf": [one, {"type": "boolean"}]}, inner),
        st.builds(lambda one: {"allOf": [{"type": "object", "properties": {"k": one}}]}, inner),
        st.builds(
            lambda keys: {"type": "object", "properties": keys, "required": sorted(keys)},
            st.dictionaries(WORDS, inner, min_size=1, max_size=3),
        ),
    ),
    max_leaves=5,
)
PLAIN = st.one_of(TEXTS, st.just({"type": "integer"}), st.just({"type": "boolean"}))
LISTS = st.builds(lambda one: {"type": "array", "items": one, "minItems": 1}, PLAIN)


@st.composite
def parameters(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Give parameters of the query and headers, no two alike."""
    names = draw(st.lists(WORDS, unique=True, max_size=3))
    return [
        {
            "name": name,
            "in": "query",
            "required": draw(st.booleans()),
            "schema": draw(st.one_of(PLAIN, LISTS)),
            "explode": draw(st.booleans()),
            "style": draw(st.sampled_from(["form", "pipeDelimited", "spaceDelimited"])),
        }
        for name in names
    ]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Give a small document of version 3.0."""
    paths: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 3))):
        method = draw(st.sampled_from(["get", "post", "put", "delete"]))
        operation: dict[str, Any] = {
            "parameters": [
                {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}},
                *draw(parameters()),
            ],
            "responses": {"200": {"content": {"application/json": {"schema": draw(SCHEMAS)}}}},
        }
        if draw(st.booleans()):
            operation["operationId"] = draw(st.one_of(WORDS, st.text(max_size=90)))
        if method != "get" and draw(st.booleans()):
            content = {"application/json": {"schema": draw(SCHEMAS)}}
            operation["requestBody"] = {"required": draw(st.booleans()), "content": content}
        paths[f"/p{number}/{{key}}"] = {method: operation}
    loop = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Loop"}}}
    return {
        "openapi": "3.0.1",
        "info": {"title": draw(st.text(max_size=20)), "version": "1"},
        "components": {"schemas": {"Loop": loop}},
        "paths": paths,
    }


@settings(max_examples=60, deadline=None)
@given(documents())
def test_every_example_is_what_the_document_asks_for(document: dict[str, Any]) -> None:
    """From document to pack to request, and back at a stand-in that reads the document itself."""
    raw = orjson.dumps(document)
    made = imported(raw)
    pack = Pack.model_validate(yaml.safe_load(made.yaml))
    assert len({one.name for one in pack.functions}) == made.operations == len(document["paths"])
    stub = OpenApiStub(read_document(raw))
    fields = stub.accounts("http://127.0.0.1:1")["default"]
    values = {key: Secret(one) if key != "base_url" else one for key, one in fields.items()}
    account = Credentials("vendor", "default", values)
    for function in vendor_integration(pack).functions:
        assert function.spec is not None
        example = function.spec.example.arguments
        arguments = bind(function, orjson.dumps([example]), depth=64)
        request = build(function, pack, arguments, account)
        answer = asyncio.run(
            _sent(stub, request.method, request.url, request.headers, request.body)
        )
        assert answer.status_code == 200, (answer.text, function.spec.example)


async def _sent(
    stub: OpenApiStub, method: str, url: str, headers: Any, body: bytes | None
) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=stub.app)) as client:
        return await client.request(method, url, headers=dict(headers), content=body)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_bytes_are_refused_in_words(raw: bytes) -> None:
    """Whatever comes is an import or a refusal, never a crash."""
    with contextlib.suppress(ImportRefused):
        imported(b"openapi: 3.0.0\npaths: " + raw)
