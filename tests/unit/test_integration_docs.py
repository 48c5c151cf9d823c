"""What docs/integrations.md says is so: its pack loads, its accounts parse, nothing is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import orjson
import pytest
from pydantic import BaseModel

from integrations import pack, pack_wire
from integrations.accounts import AccountsFile
from integrations.arguments import bind
from integrations.catalog import Catalog
from integrations.request import build
from integrations.stubs.faults import FaultKind
from tests.shipped import CATALOG

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()


def block(language: str) -> str:
    """Give the first code block of a language."""
    return PAGE.split(f"```{language}\n")[1].partition("```")[0]


def test_the_pack_of_the_page_works(tmp_path: Path) -> None:
    """The made-up integration is callable from its file alone."""
    (tmp_path / "weather.yaml").write_text(block("yaml"))
    (tmp_path / "weather.md").write_text("A guide.\n")
    catalog = Catalog.load(tmp_path)
    function = catalog.function("weather", "weather_get_forecast")
    weather = catalog.integrations["weather"].pack
    assert weather is not None
    text = '[weather.default]\nuser = "u"\nkey = "k"\n'
    credentials = AccountsFile.parse(text, catalog, {}).for_tenant(None).get("weather", "default")
    given = bind(function, orjson.dumps(["ZRH"]), depth=64)
    request = build(function, weather, given, credentials)
    assert request.url == (
        "https://api.weather.example/v2/stations/ZRH/forecast?days=3&units=metric"
    )
    assert "weather.get_forecast" in catalog.docs.names


def test_the_accounts_of_the_page_parse() -> None:
    """The example of an accounts file is one."""
    environ = dict.fromkeys(re.findall(r'env = "(\w+)"', block("toml")), "x" * 8)
    file = AccountsFile.parse(block("toml"), CATALOG, environ)
    assert file.for_tenant(None).names("mux") == ["default", "production"]
    assert file.for_tenant("acme").names("mux") == ["default"]


def _is_part(one: object) -> bool:
    return isinstance(one, type) and issubclass(one, pack_wire.Strict)


@pytest.mark.parametrize(
    "model",
    [
        *(pack.Pack, pack.FunctionPack, pack.CredentialField, pack.Example),
        *(one for one in vars(pack_wire).values() if _is_part(one)),
    ],
)
def test_every_key_of_a_pack_is_documented(model: type[BaseModel]) -> None:
    """A key that is not on the page does not exist for anybody."""
    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}" in PAGE


@pytest.mark.parametrize("name", ["mux", "heygen", "convex"])
def test_every_function_and_account_field_is_listed(name: str) -> None:
    """The tables name what the packs have."""
    found = CATALOG.integrations[name]
    assert found.pack is not None
    for one in [function.name for function in found.functions] + list(found.pack.credentials):
        assert f"`{one}`" in PAGE


def test_every_code_of_ours_is_documented() -> None:
    """A code that a script can meet stands in the table."""
    rooms = Path(pack.__file__).parent
    sources = "\n".join(path.read_text() for path in sorted(rooms.glob("*.py")))
    codes = set(re.findall(r'CallFailed\(\s*"(\w+)"', sources))
    codes |= set(re.findall(r'(?:unusable|_held)\("(\w+)"', sources))
    codes |= set(re.findall(r'_cannot\(\s*call,\s*"(\w+)"', sources))
    adapters = "\n".join(path.read_text() for path in sorted(rooms.glob("adapters/*.py")))
    codes |= set(re.findall(r'failed\(\s*"(\w+)"', adapters))
    codes |= {"unreachable", "timeout", "dropped", "redirect_refused"}
    for code in codes - {"demo_failed"}:
        assert f"`{code}`" in PAGE


def test_every_fault_of_the_stubs_is_documented() -> None:
    """The stubs' faults can be used by hand."""
    for kind in get_args(FaultKind):
        assert f"`{kind}`" in PAGE
