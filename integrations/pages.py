"""The pages scripts can read about an integration, written from its pack and its guide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from integrations import lua_manual
from integrations.pack import FunctionPack, Pack

INDEX, MCP = "index", "mcp"
_MCP_TITLE = "MCP servers"
_MCP_SUMMARY = "Call the tools of MCP servers: app.mcp, mcp.servers, mcp.tools, mcp.call."
_HOW_TO_READ = (
    '`docs.read("<name>")` reads a page, `docs.search("<words>")` finds one, `docs.list()` names'
    " all."
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its name (`mux.list_assets`), title, one-line summary and Markdown text."""

    name: str
    title: str
    summary: str
    text: str

    def to_json(self) -> dict[str, str]:
        """Give what lists show."""
        return {"name": self.name, "title": self.title, "summary": self.summary}


def pages_of(pack: Pack, guide: str) -> Iterator[tuple[Page, Sequence[str]]]:
    """Give each page of one pack with the other names it is read by."""
    yield _overview(pack, guide), ()
    for function in pack.functions:
        page = Page(
            f"{pack.name}.{function.name}",
            f"{pack.title}: {function.title}",
            function.description,
            _function_text(pack, function),
        )
        yield page, [f"{pack.name}.{alias}" for alias in function.aliases]


def lua_page() -> Page:
    """Give the page about Lua itself."""
    return Page(lua_manual.LUA, lua_manual.TITLE, lua_manual.SUMMARY, lua_manual.lua_text())


def mcp_page() -> Page:
    """Give the page about MCP servers."""
    text = (Path(__file__).parent / "mcp" / "guide.md").read_text("utf-8")
    return Page(MCP, _MCP_TITLE, _MCP_SUMMARY, text)


def index_page(packs: Sequence[Pack]) -> Page:
    """Give the page that names all others."""
    lines = [
        "# Documentation",
        "",
        _HOW_TO_READ,
        "",
        f"- `{lua_manual.LUA}`: {lua_manual.TITLE}. {lua_manual.SUMMARY}",
        f"- `{MCP}`: {_MCP_TITLE}. {_MCP_SUMMARY}",
    ]
    for pack in packs:
        lines.append(f"- `{pack.name}`: {pack.title}. {pack.summary}")
        lines += [f"  - `{pack.name}.{one.name}` ({one.effect})" for one in pack.functions]
    return Page(INDEX, "Documentation", "All pages there are.", "\n".join(lines) + "\n")


def _overview(pack: Pack, guide: str) -> Page:
    functions = "\n---\n\n".join(_section(pack, one, level=2) for one in pack.functions)
    text = (
        f"# {pack.title} — Lua API Reference\n\n"
        f"Namespace: `app.integrations.{pack.name}`.\n\n"
        f"{guide.strip() or pack.summary}\n\n{functions}"
    )
    return Page(pack.name, pack.title, pack.summary, text)


def _function_text(pack: Pack, function: FunctionPack) -> str:
    reply = orjson.dumps(function.example.reply, option=orjson.OPT_INDENT_2).decode()
    return (
        f"{_section(pack, function, level=1)}\n## Reply\n\n```json\n{reply}\n```\n\n"
        f"## Names\n\n{_names(pack, function)}\n"
    )


def _names(pack: Pack, function: FunctionPack) -> str:
    base = f"app.integrations.{pack.name}"
    lines = [f"- Lua path: `{base}.{function.name}`"]
    lines += [f"- the same: `{base}.{alias}`" for alias in function.aliases]
    lines.append(f"- of a named account: `{base}.<account>.{function.name}`")
    grants = f"`{pack.name}:{function.effect}` or `{pack.name}.{function.name}`"
    lines.append(f"- grant it needs: {grants}")
    return "\n".join(lines)


def _section(pack: Pack, function: FunctionPack, *, level: int) -> str:
    marks = "#" * level
    name = function.name if level > 1 else f"{pack.name}.{function.name}"
    effect = function.effect.value.capitalize()
    notes = f"\n{function.notes}\n" if function.notes else ""
    also = f"Also called: {', '.join(f'`{a}`' for a in function.aliases)}.\n\n"
    notes += _paging(function)
    return (
        f"{marks} {name}\n\n{effect}. {function.description}\n{notes}\n"
        f"{also if level > 1 else ''}"
        f"{marks}# Parameters\n\n{_table(function)}\n"
        f"{marks}# Example\n\n```lua\n{function.example.lua.rstrip()}\n```\n"
    )


def _paging(function: FunctionPack) -> str:
    pages = function.pagination
    if pages is None:
        return ""
    where = f"`{pages.items}`" if pages.items else "the reply"
    if pages.next is not None:
        how = f"pass `{pages.parameter}` = `{pages.next}` of the reply, until there is none"
    elif pages.style == "page":
        how = f"count `{pages.parameter}` up, until a page is short"
    else:
        how = f"add the number of entries to `{pages.parameter}`, until there are no more"
    return f"\nThe list is in {where}; to go on, {how}.\n"


def _table(function: FunctionPack) -> str:
    properties: Mapping[str, Any] = function.parameters["properties"]
    if not properties:
        return "None.\n"
    required = function.parameters.get("required", ())
    rows = ["| Name | Type | Required | Description |", "|------|------|----------|-------------|"]
    for name, schema in properties.items():
        needed = "yes" if name in required else "no"
        rows.append(f"| `{name}` | {_type(schema)} | {needed} | {schema.get('description', '')} |")
    return "\n".join(rows) + "\n"


def _type(schema: Mapping[str, Any]) -> str:
    if "type" in schema:
        stated = schema["type"]
        return stated if isinstance(stated, str) else " or ".join(stated)
    if "enum" in schema:
        return " or ".join(orjson.dumps(option).decode() for option in schema["enum"])
    return " or ".join(dict.fromkeys(_type(one) for one in schema.get("anyOf", ()))) or "any"
