"""The two files of an imported pack, as text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from integrations.openapi.texts import one_line

_HEAD = (
    "# Written by `moonsand integrations import`; yours to change.\n"
    "# The reference of this format is docs/integrations.md.\n"
)
_MAX_NOTES = 30


class _Dumper(yaml.CSafeDumper):
    """YAML without aliases, which people cannot follow and loaders limit."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (PyYAML's hook)
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    """Write scripts as they read: line by line."""
    style = "|" if "\n" in text and not re.search(r"[ \t]\n", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(pack: Mapping[str, Any]) -> str:
    """Give the YAML of a pack, keys in the order given."""
    body = yaml.dump(dict(pack), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return f"{_HEAD}{body}"


def guide_text(pack: Mapping[str, Any], root: Mapping[str, Any], notes: Sequence[str]) -> str:
    """Give the guide that scripts' authors read above the functions."""
    info = root.get("info")
    version = one_line(info.get("version"), 40) if isinstance(info, dict) else ""
    about = one_line(info.get("description"), 600) if isinstance(info, dict) else ""
    name, host = pack["name"], pack["host"]["default"]
    told = f" {version}" if version else ""
    lines = [
        about or pack["summary"],
        "",
        f"Made of the OpenAPI document of {pack['title']}{told}. Requests go to {host}.",
        "",
    ]
    required = [key for key, one in pack["credentials"].items() if one.get("required")]
    if required:
        lines += ["An account needs:", ""]
        lines += [f"- `{key}`: {pack['credentials'][key]['label']}" for key in required]
    else:
        lines.append("An account needs no credentials.")
    example = pack["functions"][0]["name"]
    lines += [
        "",
        f"Call a function with one table of named parameters, `app.integrations.{name}.{example}`.",
        "Replies are the vendor's own; a key that is null or missing is nil.",
    ]
    if notes:
        lines += ["", "What the document could not say or this pack cannot do:", ""]
        lines += [f"- {one_line(note, 200)}" for note in notes[:_MAX_NOTES]]
        if len(notes) > _MAX_NOTES:
            lines.append(f"- and {len(notes) - _MAX_NOTES} more of the kind")
    return "\n".join(lines) + "\n"
