"""A pack that loads can be called; one that cannot says where and why."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.calls import EffectClass
from integrations.catalog import PACKS, Catalog, PackInvalid
from integrations.demo import demo_integration
from integrations.failure import CallFailed, nearest, printable

MUX: dict[str, Any] = yaml.safe_load((PACKS / "mux.yaml").read_text())


def loaded(directory: Path, document: Any) -> Catalog:
    """Load a directory with one pack."""
    text = document if isinstance(document, str) else yaml.safe_dump(document)
    (directory / "mux.yaml").write_text(text)
    (directory / "mux.md").write_text("Guide.\n")
    return Catalog.load(directory)


def changed(**changes: Any) -> dict[str, Any]:
    """Give the pack of Mux with its second function, `get_asset`, changed."""
    document = copy.deepcopy(MUX)
    document["functions"][1].update(changes)
    return document


class TestMux:
    def test_every_documented_name_is_a_function(self) -> None:
        """Names, full names, and the three names of the viewers' operation."""
        catalog = Catalog.load()
        names = [
            *("list_assets", "get_asset", "create_asset", "list_live_streams"),
            *("get_live_stream", "create_live_stream", "get_realtime_data"),
        ]
        assert [one.name for one in catalog.integrations["mux"].functions] == names
        for name in [*names[:-1], "get_current_user"]:
            assert catalog.function("mux", f"mux_{name}") is catalog.function("mux", name)
        assert catalog.function("mux", "get_current_user").name == "get_realtime_data"

    def test_only_creating_writes(self) -> None:
        """What changes something is marked so, or grants and retries go wrong."""
        functions = Catalog.load().integrations["mux"].functions
        writes = {one.name for one in functions if one.effect_class is EffectClass.WRITE}
        assert writes == {"create_asset", "create_live_stream"}

    def test_the_demonstration_is_not_in_production(self) -> None:
        """`demo` exists only where a test adds it."""
        assert "demo" not in Catalog.load().integrations
        assert "demo" in Catalog.load(extra=[demo_integration()]).integrations


class TestNames:
    def test_an_unknown_function_gets_the_nearest(self) -> None:
        """The wording is what scripts' authors read first."""
        with pytest.raises(CallFailed) as caught:
            Catalog.load().function("mux", "list_asset")
        assert caught.value.message == (
            "Unknown function: mux.list_asset. Did you mean: list_assets?"
            " No external call was made."
        )

    def test_an_unknown_integration_gets_the_nearest(self) -> None:
        """The same for the word before the dot."""
        with pytest.raises(CallFailed) as caught:
            Catalog.load().function("muxx", "list_assets")
        assert caught.value.message == (
            "Unknown integration: muxx. Did you mean: mux? No external call was made."
        )

    @pytest.mark.parametrize("name", ["__index", "__class__", "", "\x1b[31mred", "a" * 10_000])
    def test_odd_names_are_only_unknown(self, name: str) -> None:
        """No name reaches anything but the dictionary; what is shown is one short line."""
        with pytest.raises(CallFailed) as caught:
            Catalog.load().function("mux", name)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 250

    def test_full_names_have_neighbours(self) -> None:
        """`nearest` of the catalog speaks in full names."""
        assert Catalog.load().nearest("mux.creat_asset") == ["mux.create_asset"]

    def test_nobody_is_near_to_nonsense(self) -> None:
        """No suggestion is better than a wild one."""
        assert nearest("zzzz", ["list_assets"]) == []

    def test_foreign_text_is_one_short_printable_line(self) -> None:
        """What somebody else wrote cannot break a line or fill a log."""
        assert printable("a\r\nb\x00\u202ec" + "d" * 5000, 12) == "a b cdddd..."
        assert printable("“Zażółć” — 🎬") == "“Zażółć” — 🎬"


class TestBadPacks:
    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"name": "Get-Asset"}, "functions.1.name: String should match pattern"),
            ({"name": "end"}, "functions.1: Value error, reserved words cannot be names: end"),
            ({"name": "default"}, "reserved words cannot be names: default"),
            ({"name": "list_assets"}, "names given twice: list_assets"),
            ({"effect": "maybe"}, "functions.1.effect: Input should be 'read' or 'write'"),
            ({"surprise": 1}, "functions.1.surprise: Extra inputs are not permitted"),
            (
                {"request": {"method": "GET", "path": "/assets"}},
                "parameters and request mapping differ in: asset_id",
            ),
            (
                {"request": {"method": "GET", "path": "https://evil.example/{asset_id}"}},
                "functions.1.request.path: String should match pattern",
            ),
            (
                {"request": {"method": "GET", "path": "/{asset_id}", "query": {"a": {"add": 1}}}},
                "give `from`, `credential`, `value` or `object`",
            ),
            (
                {"parameters": {"properties": {"asset_id": {"type": "string"}}}},
                "path parameters must be required: asset_id",
            ),
            (
                {
                    "parameters": {
                        "properties": {"asset_id": {"type": "text"}},
                        "required": ["asset_id"],
                    }
                },
                "parameters is no JSON Schema",
            ),
            (
                {"example": {"lua": "x", "arguments": {"id": "a"}, "reply": None}},
                "example arguments are not valid",
            ),
        ],
    )
    def test_the_place_and_the_problem_are_named(
        self, tmp_path: Path, changes: dict[str, Any], problem: str
    ) -> None:
        """Whoever writes a pack learns where it is wrong."""
        with pytest.raises(PackInvalid) as caught:
            loaded(tmp_path, changed(**changes))
        assert str(caught.value).startswith("mux.yaml: ")
        assert problem in str(caught.value)

    def test_broken_yaml_names_the_line(self, tmp_path: Path) -> None:
        """A syntax error is found by its line."""
        with pytest.raises(PackInvalid, match=r"mux\.yaml line \d+: not YAML"):
            loaded(tmp_path, "format: 1\nname: [mux\n")

    def test_a_key_given_twice_is_refused(self, tmp_path: Path) -> None:
        """YAML would keep the last without a word."""
        with pytest.raises(PackInvalid, match="key 'name' given twice"):
            loaded(tmp_path, "format: 1\nname: mux\nname: mux\n")

    def test_a_future_format_is_refused(self, tmp_path: Path) -> None:
        """An older program does not guess what a newer pack means."""
        with pytest.raises(PackInvalid, match="format: Input should be 1"):
            loaded(tmp_path, {**MUX, "format": 2})

    def test_a_missing_guide_is_named(self, tmp_path: Path) -> None:
        """The file's name is given, not where it was looked for."""
        (tmp_path / "mux.yaml").write_text(yaml.safe_dump(MUX))
        with pytest.raises(PackInvalid) as caught:
            Catalog.load(tmp_path)
        assert str(caught.value) == "mux.yaml: mux.md cannot be read"

    def test_plain_http_is_no_default(self, tmp_path: Path) -> None:
        """A pack cannot send credentials in the clear."""
        with pytest.raises(PackInvalid, match=r"host\.default"):
            loaded(tmp_path, {**MUX, "host": {"default": "http://api.mux.com"}})

    def test_auth_uses_only_declared_fields(self, tmp_path: Path) -> None:
        """A typo in the auth section is found at load, not at the first call."""
        auth = {"scheme": "basic", "username": "token_id", "password": "token_secrt"}
        with pytest.raises(PackInvalid, match="`token_secrt` is used but is no credential field"):
            loaded(tmp_path, {**MUX, "auth": auth})
