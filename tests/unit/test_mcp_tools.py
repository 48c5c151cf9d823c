"""Names, schemas, lists and files of MCP servers: data that a stranger wrote, held to bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from core.calls import EffectClass
from core.errors import Invalid
from integrations.check import check_script
from integrations.mcp.answers import value_of
from integrations.mcp.checking_schema import SchemaRefused, checking_schema, validator_of
from integrations.mcp.lua_names import lua_names
from integrations.mcp.servers_file import Server, ServersFile
from integrations.mcp.tool_list import MAX_TOOLS, ListRefused, ToolList
from integrations.mcp.trust import Pin, TrustFile
from integrations.mcp.trusted_tools import TrustedTools, trusted_server
from tests.mcp_serving import write_servers
from tests.shipped import CATALOG


def described(name: str, **more: Any) -> dict[str, Any]:
    """Describe a tool as a server does."""
    return {"name": name, "description": "Do it.", "inputSchema": {"type": "object"}, **more}


def accepts(schema: dict[str, Any], value: dict[str, Any]) -> bool:
    """Tell whether a schema accepts arguments, as it is checked here."""
    return validator_of(checking_schema(schema)).is_valid(value)


@pytest.mark.parametrize(
    ("name", "lua"),
    [
        *(("read_file", "read_file"), ("read-file", "read_file"), ("readFile", "read_file")),
        *(("end", "end_"), ("__index", "index"), ("2fa", "tool_2fa"), ("a.b/c", "a_b_c")),
    ],
)
def test_a_tool_gets_a_name_that_lua_can_write(name: str, lua: str) -> None:
    """Keywords, dunders, digits and signs included; it still answers to its own name."""
    names = lua_names([name])[name]
    assert names[0] == lua
    assert name in names


def test_two_tools_never_share_a_name_whatever_their_order() -> None:
    """Who would take another's name is told apart; who needs no change keeps it."""
    both = lua_names(["read-file", "read_file", "readFile", "日本", "語", "x" * 128, "x" * 127])
    assert both == lua_names(
        reversed(["read-file", "read_file", "readFile", "日本", "語", "x" * 128, "x" * 127])
    )
    assert both["read_file"] == ("read_file",)
    every = [name for names in both.values() for name in names]
    assert len(every) == len(set(every))
    assert all(len(name) <= 64 for name in every)


def test_only_a_true_hint_makes_a_read() -> None:
    """A tool that says nothing, or anything but `true`, writes."""
    hints: list[Any] = [None, False, "true", 1, True]
    tools = ToolList.of(
        [described(f"t{n}", annotations={"readOnlyHint": h}) for n, h in enumerate(hints)]
    )
    classes = [one.effect_class for one in tools.tools.values()]
    assert classes == [EffectClass.WRITE] * 4 + [EffectClass.READ]


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Do something else."},
        {"inputSchema": {"type": "object", "properties": {"a": {}}}},
        {"outputSchema": {"type": "object"}},
        {"annotations": {"readOnlyHint": True}},
        {"title": "Other"},
    ],
)
def test_every_part_that_was_agreed_to_is_in_the_digest(change: dict[str, Any]) -> None:
    """A change of any of them is a change of the list, and is named."""
    before, after = ToolList.of([described("t")]), ToolList.of([{**described("t"), **change}])
    assert before.digest != after.digest
    assert before.changes_to(after) == f"changed: t ({next(iter(change))})"


def test_the_order_of_tools_is_no_change() -> None:
    """Servers list as they like; added and removed tools are told by name."""
    one, other = (
        ToolList.of([described("a"), described("b")]),
        ToolList.of([described("b"), described("a")]),
    )
    assert one.digest == other.digest
    assert one.changes_to(ToolList.of([described("b"), described("c")])) == "added: c; removed: a"


@pytest.mark.parametrize(
    "tools",
    [
        [described("a"), described("a")],
        [described("")],
        [described("a\x1b[2J")],
        [described("x" * 129)],
        [described(f"t{n}") for n in range(MAX_TOOLS + 1)],
        [described("a", description="x" * 200_000)],
        [{"name": 3}],
        [described("a", inputSchema=orjson.loads("[" * 100 + "]" * 100))],
    ],
)
def test_a_list_without_measure_is_refused(tools: list[dict[str, Any]]) -> None:
    """Doubles, names that cannot be shown, ten thousand tools, descriptions without end."""
    with pytest.raises(ListRefused):
        ToolList.of(tools)


def test_names_that_are_not_listed_are_refused_unless_the_schema_wants_them() -> None:
    """Most servers say nothing of other names; a typo must not be dropped in silence."""
    listed = {"type": "object", "properties": {"path": {"type": "string"}}}
    assert not accepts(listed, {"pth": "x"})
    assert accepts({**listed, "additionalProperties": True}, {"other": 1})
    assert accepts({"type": "object"}, {"anything": 1})


def test_references_are_written_out_and_cycles_cut() -> None:
    """What is inside the document is checked; what leads into itself accepts anything there."""
    schema = {
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/node"}},
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
                "required": ["value"],
            }
        },
    }
    assert accepts(schema, {"tree": {"value": 1, "next": {"no": "check"}}})
    assert not accepts(schema, {"tree": {"value": "x"}})


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x", "file:///etc/passwd", "#/none", 7])
def test_no_reference_leaves_the_document(reference: Any) -> None:
    """Nothing is fetched or read for a schema: the part accepts anything."""
    schema = {"type": "object", "properties": {"a": {"$ref": reference}}}
    assert accepts(schema, {"a": [1]})


def test_a_schema_that_grows_when_it_is_written_out_is_refused() -> None:
    """References of references that double at each step."""
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for n in range(1, 20):
        inner = {"$ref": f"#/$defs/d{n - 1}"}
        definitions[f"d{n}"] = {"anyOf": [inner, inner]}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d19"}}, "$defs": definitions}
    with pytest.raises(SchemaRefused, match="larger than"):
        checking_schema(schema)


@pytest.mark.parametrize(
    "schema", [{"type": "array"}, {"properties": []}, {"properties": {"a": 3}}]
)
def test_a_schema_of_no_object_makes_its_tool_unusable_alone(schema: dict[str, Any]) -> None:
    """One odd tool does not take the others away."""
    server = Server("odd", url="https://odd.example/mcp")
    tools = ToolList.of([described("good"), described("bad", inputSchema=schema)])
    seen = trusted_server(server, Pin(tools, server.endpoint, 1))
    assert "good" in seen.functions
    assert ("bad" in seen.unusable) == ("bad" not in seen.functions)


def test_patterns_take_linear_time_or_are_left_to_the_server() -> None:
    """A pattern that only a backtracking engine knows is not checked here."""
    schema = {
        "type": "object",
        "properties": {"a": {"pattern": "^(a+)+$"}, "b": {"pattern": "(?<=x)y"}},
    }
    assert not accepts(schema, {"a": "a" * 50_000 + "b"})
    assert accepts(schema, {"b": "no"})


def test_a_value_is_what_a_script_expects() -> None:
    """Structured content, a wrapped plain value, JSON in a text, a text, and blocks."""
    wrapper = {"type": "object", "properties": {"result": {"type": "integer"}}}
    text = [{"type": "text", "text": "3"}]
    assert value_of(text, {"result": 3}, wrapper) == 3
    assert value_of(text, {"result": 3}, {"properties": {"result": {}, "more": {}}}) == {
        "result": 3
    }
    assert value_of(text, None, None) == 3
    assert value_of([{"type": "text", "text": "{no"}], None, None) == "{no"
    assert value_of([*text, *text], None, None) == [*text, *text]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('[files]\nurl = "http://files.example/mcp"\n', "files.url: must begin with https://"),
        ("[files]\n", "files: needs either `url` or `command`"),
        ('[files]\ncommand = "server"\n', "files.command: must be an absolute path"),
        ('[end]\nurl = "https://x.example"\n', "end: a server's name"),
        (
            '[files]\nurl = "https://x.example"\nheader = {}\n',
            "files.header: unknown. Did you mean",
        ),
        ('[files]\nurl = "https://x.example"\ncommand = "/bin/x"\n', "needs either"),
        ('[files]\nurl = "https://x.example"\nheaders = { Host = "a" }\n', "files.headers.Host"),
        ('[files]\nurl = "https://x.example"\nheaders = { A = { env = "NO" } }\n', "NO is not set"),
        ('[files]\nurl = "https://x.example"\ntimeout_s = 0\n', "files.timeout_s: must be"),
        ('[tenants.development.a]\nurl = "https://x"\n', "tenants.development: not a tenant"),
        ("[files\n", "not TOML"),
    ],
)
def test_a_wrong_file_is_told_by_its_key(tmp_path: Path, text: str, names: str) -> None:
    """The message names the key in the file."""
    with pytest.raises(Invalid) as refused:
        ServersFile.load(write_servers(tmp_path, text), {})
    assert names in refused.value.detail


def test_secrets_come_from_the_environment_or_a_file_and_are_not_shown(tmp_path: Path) -> None:
    """Neither `repr` nor an error holds one; the part after a scheme is a secret of its own."""
    (tmp_path / "key").write_text("from-a-file\n")
    text = f"""
        [web]
        url = "https://web.example/mcp"
        [web.headers]
        Authorization = {{ env = "TOKEN", prefix = "Bearer " }}
        X-Key = {{ file = "{tmp_path / "key"}" }}
    """
    server = ServersFile.load(write_servers(tmp_path, text), {"TOKEN": "tok-123456"}).for_tenant(
        None
    )["web"]
    assert server.headers["Authorization"].reveal() == "Bearer tok-123456"
    assert server.headers["X-Key"].reveal() == "from-a-file"
    assert "tok-123456" in server.secrets()
    assert "123456" not in repr(server)
    assert "from-a-file" not in repr(server)


def test_trust_belongs_to_a_place_a_tenant_and_a_whole_file(tmp_path: Path) -> None:
    """Another URL, another tenant, an edited list: nothing is trusted."""
    path = write_servers(
        tmp_path,
        '[web]\nurl = "https://web.example/mcp"\n[tenants.acme.web]\nurl = "https://web.example/mcp"\n',
    )
    server = ServersFile.load(path).for_tenant(None)["web"]
    tools = ToolList.of([described("read")])
    TrustFile(path).write({("development", "web"): Pin(tools, server.endpoint, 1)})
    trusted = TrustedTools.load(path)
    assert trusted.for_tenant(None)["web"].pin is not None
    assert trusted.for_tenant("acme")["web"].pin is None

    moved = Server("web", url="https://evil.example/mcp")
    assert trusted_server(moved, TrustFile(path).read()["development", "web"]).pin is None

    file = tmp_path / "mcp.toml.trust.json"
    file.write_bytes(file.read_bytes().replace(b"Do it.", b"Do that"))
    assert trusted.for_tenant(None)["web"].pin is None
    with pytest.raises(Invalid, match="not a file of trusted tools"):
        TrustFile(path).read()


def test_what_was_trusted_meanwhile_counts_from_the_next_run_on(tmp_path: Path) -> None:
    """Workers look at the file; no restart, and no message between them."""
    path = write_servers(tmp_path, '[web]\nurl = "https://web.example/mcp"\n')
    trusted = TrustedTools.load(path)
    before = trusted.for_tenant(None)
    server = before["web"].server
    TrustFile(path).write(
        {("development", "web"): Pin(ToolList.of([described("a")]), server.endpoint, 1)}
    )
    assert trusted.for_tenant(None)["web"].pin is not None
    assert before["web"].pin is None


def test_a_check_takes_tools_for_what_only_the_operator_knows() -> None:
    """No finding about a server it cannot know; a typo in `mcp` itself is one."""
    known = check_script('app.mcp.files.read{ path = "a" } return mcp.servers()', CATALOG)
    assert (known.findings, known.needs.dynamic) == ([], True)
    (typo,) = check_script("return mcp.server()", CATALOG).findings
    assert typo.code == "unknown_name"
