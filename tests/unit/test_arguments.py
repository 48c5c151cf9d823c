"""Arguments are checked before anything is sent, and refused in words that help."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from integrations.arguments import bind, deeper_than, fit
from integrations.failure import CallFailed
from tests.shipped import CATALOG


def bound(name: str, *positional: Any) -> dict[str, Any]:
    """Give the bound arguments of a function of Mux."""
    return bind(CATALOG.function("mux", name), orjson.dumps(list(positional)), depth=64)


def refused(name: str, *positional: Any) -> str:
    """Give the message that refuses arguments."""
    with pytest.raises(CallFailed) as caught:
        bound(name, *positional)
    assert caught.value.code == "invalid_arguments"
    return caught.value.message


class TestShapes:
    def test_defaults_are_filled_in_whatever_way_nothing_is_given(self) -> None:
        """No argument, nil, an empty table in either form: all the same."""
        defaults = {"limit": 25, "page": 0}
        ways: list[tuple[Any, ...]] = [(), (None,), ({},), ([],)]
        assert [bound("list_assets", *given) for given in ways] == [defaults] * 4

    def test_plain_values_follow_the_order_of_the_parameters(self) -> None:
        """`list_assets(10, 2)` is `{limit = 10, page = 2}`; nil leaves one out."""
        assert bound("list_assets", 10, 2) == {"limit": 10, "page": 2}
        assert bound("list_assets", None, 2) == {"limit": 25, "page": 2}

    def test_a_table_after_a_plain_value_is_a_value(self) -> None:
        """Only the first argument decides whether parameters are named."""
        given = bound("create_asset", "https://example.com/v.mp4", ["public"])
        assert given == {"input": "https://example.com/v.mp4", "playback_policy": ["public"]}

    def test_whole_floats_are_integers(self) -> None:
        """Lua's 10.0 is 10 where an integer is wanted, and is sent as one."""
        limit = bound("list_assets", {"limit": 10.0})["limit"]
        assert (limit, type(limit)) == (10, int)

    def test_new_names_of_parameters_are_accepted(self) -> None:
        """Mux's current names work beside the documented ones, and win over them."""
        given = bound(
            "create_asset",
            {
                "inputs": [{"url": "https://example.com/new"}],
                "input": "https://example.com/old",
                "playback_policies": ["signed"],
            },
        )
        assert given == {
            "input": [{"url": "https://example.com/new"}],
            "playback_policy": ["signed"],
        }

    @pytest.mark.parametrize("empty", [{}, []])
    def test_empty_tables_take_the_form_of_the_schema(self, empty: Any) -> None:
        """Lua has one empty table; the schema says whether it is `{}` or `[]`."""
        given = bound(
            "create_live_stream",
            {"playback_policy": empty, "new_asset_settings": {"meta": empty, "input": "https://x"}},
        )
        assert given["playback_policy"] == []
        assert given["new_asset_settings"]["meta"] == {}

    def test_unknown_empty_tables_stay_as_they_came(self) -> None:
        """Without a schema nobody knows better than the encoder."""
        assert (fit({}, {}), fit([], {})) == ({}, [])


class TestRefusals:
    def test_the_message_says_all(self) -> None:
        """Limit, value, accepted names, and that nothing was sent."""
        assert refused("list_assets", {"limit": 500, "page": -1}) == (
            "mux.list_assets: limit must be at most 100, not 500; page must be at least 0, not -1;"
            " accepted parameters: limit, page, cursor, live_stream_id, upload_id;"
            " no external call was made"
        )

    def test_a_missing_parameter_is_named(self) -> None:
        """What is missing comes first, and what is required is marked."""
        assert refused("get_asset") == (
            "mux.get_asset: asset_id is missing; accepted parameters: asset_id (required);"
            " no external call was made"
        )

    def test_an_unknown_parameter_gets_the_nearest_name(self) -> None:
        """A typo must not become a silent default."""
        assert refused("list_assets", {"limt": 5}).startswith(
            "mux.list_assets: unknown parameter limt, did you mean: limit; accepted parameters:"
        )

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"limit": "5"}, "limit must be a whole number;"),
            ({"limit": 2.5}, "limit must be a whole number, not 2.5;"),
            ({"limit": True}, "limit must be a whole number;"),
            ({"limit": {}}, "limit must be a whole number;"),
            ({"limit": 1e300}, "limit must be at most 100, not 1e+300;"),
            ({"limit": 2**63 - 1}, "limit must be at most 100, not 9.22337e+18;"),
            ({"page": 10**7}, "page must be at most 1000000, not 10000000;"),
            ({"cursor": ""}, "cursor must have 1 characters or more;"),
            (["a"], "the table must have named parameters, not a list of values;"),
        ],
    )
    def test_wrong_types_and_ranges(self, given: Any, problem: str) -> None:
        """Each says what was expected; a number that was seen is shown."""
        assert problem in refused("list_assets", given)

    def test_alternatives_are_named(self) -> None:
        """A parameter of several types names them; a value is named by its alternatives."""
        message = refused("create_asset", {"input": 5, "playback_policy": "pubic"})
        assert "input must be a string, a table with named keys or a list, not 5;" in message
        assert 'playback_policy must be a list or "public", "signed" or "drm";' in message

    def test_a_place_inside_is_given_as_lua_counts(self) -> None:
        """The second entry is [2]."""
        message = refused(
            "create_asset",
            {"input": "https://x", "static_renditions": [{"resolution": "highest"}, 5]},
        )
        assert "static_renditions[2] must be a table with named keys, not 5;" in message

    def test_strings_are_never_quoted(self) -> None:
        """A value that is no number may be a secret."""
        message = refused("create_asset", {"input": "hunter2-not-a-url"})
        assert "hunter2" not in message
        assert "input must match ^https?://;" in message

    def test_too_many_values(self) -> None:
        """More plain values than parameters are refused, not dropped."""
        assert "2 values given, at most 1 taken;" in refused("get_asset", "a", "b")

    def test_a_table_and_values_do_not_mix(self) -> None:
        """Named and plain values together would be ambiguous."""
        message = refused("list_assets", {"limit": 1}, 2)
        assert "give one table of named parameters, or plain values in order;" in message

    @pytest.mark.parametrize("raw", [b"", b"{}", b"nil", b"[NaN]", b"[\xff]", b"[" * 2000])
    def test_what_no_encoder_sends_is_refused_too(self, raw: bytes) -> None:
        """A lying child gets a refusal, not an exception of ours."""
        with pytest.raises(CallFailed, match="no external call was made"):
            bind(CATALOG.function("mux", "list_assets"), raw, depth=64)

    def test_deep_arguments_are_refused(self) -> None:
        """Nesting is bounded before anything walks over it."""
        deep: Any = {}
        for _ in range(64):
            deep = {"meta": deep}
        message = refused("create_live_stream", {"new_asset_settings": deep})
        assert "the arguments are nested deeper than 64 levels;" in message


class TestFloods:
    """One call has a megabyte for its arguments; checking them must not stop a worker."""

    @pytest.mark.parametrize(
        "given",
        [
            {"input": "https://x", "static_renditions": [1] * 400_000},
            {"input": [1] * 400_000},
            {"input": [{}] * 300_000},
            {"input": "https://x", "playback_policy": ["a"] * 200_000},
            {"input": "https://x", "meta": {f"k{n}": n for n in range(80_000)}},
        ],
    )
    def test_too_many_values_are_refused_quickly(self, given: Any) -> None:
        """The number of values is bounded before any schema is asked."""
        began_s = time.process_time()
        assert "the arguments have more than 50000 values;" in refused("create_asset", given)
        assert time.process_time() - began_s < 1

    @pytest.mark.parametrize(
        ("given", "wrong"),
        [
            ({"input": "https://x", "static_renditions": [1] * 45_000}, "static_renditions"),
            ({"input": [1] * 45_000}, "input"),
        ],
    )
    def test_of_many_problems_only_the_place_is_said(self, given: Any, wrong: str) -> None:
        """Explaining each of thousands of wrong values took seconds."""
        began_s = time.process_time()
        message = refused("create_asset", given)
        assert f": {wrong} does not fit (too large to say where);" in message
        assert time.process_time() - began_s < 1


def test_depth_counts_lists_and_objects() -> None:
    """A plain value has no level, an empty list one."""
    flat: list[Any] = [1, [], {"a": 1}]
    nested: list[Any] = [[[]], {"a": {}}]
    assert not any(deeper_than(value, 1) for value in flat)
    assert all(deeper_than(value, 1) for value in nested)
