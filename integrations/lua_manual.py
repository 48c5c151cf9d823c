"""The page about Lua itself: what a script can use apart from integrations."""

from __future__ import annotations

from pathlib import Path

from sandbox.limits import SPECS

LUA = "lua"
TITLE = "Lua for scripts"
SUMMARY = (
    "What a script can use: calls, errors, parallel, print and dump, json, regex, docs, limits."
)


def lua_text() -> str:
    """Give the page in Markdown, with the limits as they are."""
    text = (Path(__file__).parent / "lua_manual.md").read_text("utf-8")
    rows = [
        "| Limit | Default | Most | Unit | Of what |",
        "|---|---|---|---|---|",
        *(
            f"| `{name}` | {spec.default:,} | {spec.maximum:,} | {spec.unit} | {spec.meaning} |"
            for name, spec in SPECS.items()
        ),
    ]
    return text.replace("{limits}", "\n".join(rows))
