"""References inside a document. Nothing outside it is ever fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from integrations.openapi.problem import ImportRefused

_MAX_CHAIN = 50


@dataclass(frozen=True, slots=True)
class Refs:
    """Finds what `#/components/schemas/Pet` stands for in a document."""

    root: dict[str, Any]

    def target(self, ref: Any) -> Any:
        """
        Give what a reference stands for; it may be a reference itself.

        Raises:
            ImportRefused: it leads outside the document, or nowhere.
        """
        if not isinstance(ref, str) or not ref.startswith("#"):
            raise ImportRefused(
                f"external reference {str(ref)[:100]!r}: nothing is fetched for an import;"
                " bundle the document into one file first"
            )
        found: Any = self.root
        for step in ref[1:].split("/")[1:] if ref[1:] else []:
            found = _inside(found, unquote(step).replace("~1", "/").replace("~0", "~"), ref)
        if len(ref) > 1 and not ref.startswith("#/"):
            raise ImportRefused(f"reference {ref[:100]!r}: only `#/` pointers can be followed")
        return found

    def resolved(self, node: Any) -> dict[str, Any]:
        """
        Give an object, following references until it is one; what is no object becomes `{}`.

        Raises:
            ImportRefused: a reference leads outside the document, or nowhere.
        """
        for _ in range(_MAX_CHAIN):
            if not isinstance(node, dict):
                return {}
            ref = node.get("$ref")
            if ref is None or not isinstance(ref, str):
                return node
            target = self.target(ref)
            own = {key: item for key, item in node.items() if key != "$ref"}
            node = {**target, **own} if isinstance(target, dict) else target
        return {}  # a circle of nothing but references describes nothing


def _inside(found: Any, step: str, ref: str) -> Any:
    if isinstance(found, dict) and step in found:
        return found[step]
    if isinstance(found, list) and step.isdecimal() and len(step) < 9 and int(step) < len(found):
        return found[int(step)]
    raise ImportRefused(f"reference {ref[:100]!r} leads nowhere in the document")
