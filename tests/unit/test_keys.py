"""API keys: their text. What Redis does with them is tested against a real one."""

from __future__ import annotations

import re

import pytest

from core.errors import Forbidden, Invalid
from core.ids import is_id, new_id
from tenancy.keys import KeyRecord, digest_of, is_well_formed, new_plain_key
from tenancy.scopes import DEFAULT_SCOPES, Scope
from tenancy.tenants import check_tenant


def test_a_key_has_its_shape_and_is_never_the_same() -> None:
    """Keys are a prefix, 43 base-62 digits and a checksum, and do not repeat."""
    made = {new_plain_key() for _ in range(200)}
    assert len(made) == 200
    for plain in made:
        assert re.fullmatch(r"ms_live_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", plain)
        assert is_well_formed(plain)


def test_any_single_wrong_character_is_found() -> None:
    """The checksum tells every key with one character changed from a real one."""
    plain = new_plain_key()
    for place in range(len(plain)):
        other = "A" if plain[place] != "A" else "B"
        assert not is_well_formed(plain[:place] + other + plain[place + 1 :])


@pytest.mark.parametrize(
    "text", ["", "ms_live_", "ms_live_\u00e9", "x" * 100_000, "ms_live_" + "a" * 43 + "_aaaaaa"]
)
def test_what_is_no_key_is_not_well_formed(text: str) -> None:
    """Other texts are refused without an error, however long or strange."""
    assert not is_well_formed(text)
    assert not is_well_formed(new_plain_key() + "\n")


def test_the_digest_is_not_the_key() -> None:
    """What is stored is a SHA-256 in hexadecimal and holds nothing of the key's text."""
    plain = new_plain_key()
    assert re.fullmatch(r"[0-9a-f]{64}", digest_of(plain))
    assert plain[8:51] not in digest_of(plain)


def test_a_scope_that_is_missing_is_named() -> None:
    """A key without a scope is refused with the name of the scope and of those it has."""
    record = KeyRecord(
        id="key_1",
        tenant="acme",
        name="x",
        scopes=(Scope.READ,),
        last4="abcd",
        created_ms=0,
        digest="",
    )
    record.require(Scope.READ)
    with pytest.raises(Forbidden) as refused:
        record.require(Scope.WRITE)
    assert str(refused.value) == "this API key lacks the scope runs:write; it has runs:read"


def test_scopes_of_old_and_of_later_keys() -> None:
    """A record without scopes has what every key had; a scope that nobody knows opens nothing."""
    stored = {"id": "key_1", "tenant": "acme", "name": "x", "last4": "", "created_ms": 0}
    old = KeyRecord.model_validate({**stored, "digest": ""})
    assert old.scopes == DEFAULT_SCOPES == (Scope.READ, Scope.WRITE)
    later = KeyRecord.model_validate(
        {**stored, "digest": "", "scopes": ["runs:read", "moon:land", "runs:forc", None]}
    )
    assert later.scopes == (Scope.READ,)


def test_tenant_names() -> None:
    """A tenant's name fits into queue names and Redis keys, or is refused."""
    for good in ("a", "acme", "a-1", "a" * 40):
        assert check_tenant(good) == good
    for bad in ("", "A", "1a", "-a", "a-", "a b", "a\n", "a.b", "a:b", "a" * 41, "\u00e4"):
        with pytest.raises(Invalid):
            check_tenant(bad)


def test_an_id_must_match_to_its_last_character() -> None:
    """An id with anything after it, a newline too, is not an id."""
    made = new_id("run")
    assert is_id(made, "run")
    for wrong in (made + "\n", made + "\r", made[:-1], made + "0", made.upper(), "run_", ""):
        assert not is_id(wrong, "run")
