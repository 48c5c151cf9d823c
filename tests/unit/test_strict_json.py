"""Bodies are read strictly: nothing arrives changed, and nothing is read two ways."""

from __future__ import annotations

import pytest

from api.problems import MAX_ERRORS, InvalidFields, InvalidJson
from api.strict_json import MAX_DEPTH, parse, pointer_to
from api.submission import take_submission
from core.errors import Invalid, ServiceError


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, "\xc3\xa9", null, true]}', {"a": [1, 2.5, "\u00e9", None, True]}),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"\\ud83d\\ude00 \\u0000"', "\U0001f600 \x00"),
        (b"1e308", 1e308),
        (b"123456789012345678901.5", 123456789012345678901.5),
        (b'"123456789012345678901234567890"', "123456789012345678901234567890"),
    ],
)
def test_what_is_json_arrives_unchanged(body: bytes, value: object) -> None:
    """Every JSON value that Lua can hold is taken as it is."""
    assert parse(body) == value


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"{",
            b"{'a':1}",
            b'{"a":1,}',
            b'{"a":1} x',
            b"nul",
            b"\xff",
            b"\xef\xbb\xbf1",
        ),
        *(b"NaN", b"Infinity", b"-Infinity", b'{"a":NaN}', b"1e400", b"-1e400", b"1" * 5_000),
        *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\x00"', b'"\n"'),
        *(b'{"a":1,"a":1}', b'[{"x":{"\\u0061":1,"a":2}}]', b"01", b"+1", b".5", b"0x1", b"//"),
        *("{}".encode("utf-16"), b"[" * 200_000, b'{"a":' * 100_000),
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    """Bad syntax, bad UTF-8, NaN, surrogates and repeated names are refused as such."""
    with pytest.raises(InvalidJson) as refused:
        parse(body)
    assert refused.value.status == 400
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**30])
def test_integers_beyond_64_bits_are_refused_with_their_place(number: int) -> None:
    """An integer that Lua would change into a float is refused, by its pointer."""
    with pytest.raises(InvalidFields) as refused:
        parse(f'{{"input": [{{"a/b~": {number}}}]}}'.encode())
    assert refused.value.pointer == "/input/0/a~1b~0"


def test_depth_has_an_end() -> None:
    """Nesting is taken to the most levels and refused beyond, however much beyond."""
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 900, 1_000, 5_000):
        with pytest.raises(ServiceError, match=r"depth|deeper"):
            parse(b"[" * depth + b"]" * depth)


def test_a_wide_body_is_read_once_over() -> None:
    """Many values side by side are neither refused nor slow to walk."""
    assert len(parse(b"[" + b"{},1," * 100_000 + b"0]")) == 200_001


def test_many_wrong_values_cost_no_more_than_a_few() -> None:
    """However many values are wrong, a few are told, and finding them is cheap."""
    many = b"[" + b"9223372036854775808," * 50_000 + b"0]"
    with pytest.raises(InvalidFields) as refused:
        parse(many)
    assert len(refused.value.errors) == MAX_ERRORS
    names = b",".join(b'"n%d":1' % index for index in range(100_000))
    for body in (b"{" + names + b"}", b'{"script":"x","limits":{' + names + b"}}"):
        with pytest.raises(Invalid, match="more than 64 names"):
            take_submission(body)


def test_pointers_are_escaped() -> None:
    """Names with slashes and tildes are written as RFC 6901 says."""
    assert pointer_to("a/b", 0, "c~d") == "/a~1b/0/c~0d"
