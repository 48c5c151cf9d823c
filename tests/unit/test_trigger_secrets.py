"""Secrets of hooks and callbacks: sealed for one owner, several at once, shown by nothing."""

from __future__ import annotations

import base64
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.settings import Settings
from tenancy.envelope import VaultDamaged, seal
from tenancy.master_keys import MasterKeys, new_line
from triggers.secret_set import MAX_SECRETS, SecretSet
from triggers.trigger_keys import TriggerKeys, needed

OWNER = ("hook", "acme", "hok_1")
SECRET = "a-secret-of-the-right-length"


@pytest.fixture
def line() -> str:
    """One key as it stands in a file."""
    return new_line("k1")


@pytest.fixture
def keys(line: str) -> TriggerKeys:
    """Keys with one that seals."""
    return TriggerKeys.parse(line)


def test_what_was_sealed_opens_at_its_own_place_only(keys: TriggerKeys) -> None:
    """A secret that is copied to another tenant, hook or id does not open there."""
    sealed = keys.seal(SECRET, (*OWNER, "s1"))

    assert keys.open(sealed, (*OWNER, "s1")) == SECRET
    assert SECRET not in sealed
    for place in (("hook", "other", "hok_1", "s1"), (*OWNER, "s2"), ("callback", *OWNER[1:], "s1")):
        with pytest.raises(VaultDamaged):
            keys.open(sealed, place)
    other = "B" if sealed[12] == "A" else "A"
    for broken in (sealed[:-4], sealed + "AAAA", sealed[:12] + other + sealed[13:], "k1:", "k1:*"):
        with pytest.raises(VaultDamaged):
            keys.open(broken, (*OWNER, "s1"))


def test_a_key_that_is_not_here_is_named_as_missing(line: str, keys: TriggerKeys) -> None:
    """Without its key a secret is out of reach, not damaged; with it after another it opens."""
    sealed = keys.seal(SECRET, OWNER)
    other = new_line("k2")

    with pytest.raises(Unavailable, match="not given here"):
        TriggerKeys.parse(other).open(sealed, OWNER)
    both = TriggerKeys.parse(f"{other}\n{line}")
    assert both.open(sealed, OWNER) == SECRET
    assert both.seal(SECRET, OWNER).startswith("k2:")


def test_a_vault_key_of_the_same_bytes_opens_nothing_here(line: str, keys: TriggerKeys) -> None:
    """Keys are derived for their purpose: who reuses a line has still two keys."""
    master = MasterKeys.parse(line).get("k1") or b""
    sealed = f"k1:{base64.b64encode(seal(master, SECRET, OWNER)).decode()}"
    with pytest.raises(VaultDamaged):
        keys.open(sealed, OWNER)


def test_keys_are_shown_by_nothing(line: str, keys: TriggerKeys) -> None:
    """Neither `repr` nor settings show a key, and it is not serialised."""
    assert line.split(":")[1] not in repr(keys)
    assert line.split(":")[1] not in repr(Settings(trigger_keys=line))
    with pytest.raises(TypeError):
        pickle.dumps(keys)


def test_a_set_keeps_several_and_no_more_than_allowed(keys: TriggerKeys) -> None:
    """Secrets are added up to the bound and removed by id; all of them open, oldest first."""
    secrets = SecretSet(OWNER)
    for number in range(MAX_SECRETS):
        secrets, _ = secrets.with_new(keys, f"{SECRET}-{number}", number)
    with pytest.raises(Conflict, match="all that is allowed"):
        secrets.with_new(keys, SECRET, 9)
    again = SecretSet.read(OWNER, secrets.text())

    assert again.opened(keys) == [f"{SECRET}-{number}" for number in range(MAX_SECRETS)]
    assert SECRET not in again.text().decode()
    assert SECRET not in repr(again)
    left = again.without(again.kept[0].id)
    assert left.opened(keys) == again.opened(keys)[1:]
    with pytest.raises(NotFound):
        left.without(again.kept[0].id)
    assert [one["created_ms"] for one in left.shown()] == [1, 2, 3]


def test_a_set_moved_to_another_owner_stays_closed(keys: TriggerKeys) -> None:
    """What somebody wrote over in Redis does not open for another hook."""
    secrets, _ = SecretSet(OWNER).with_new(keys, SECRET, 1)

    with pytest.raises(VaultDamaged):
        replace(secrets, owner=("hook", "other", "hok_1")).opened(keys)


def test_a_set_can_be_sealed_anew(line: str, keys: TriggerKeys) -> None:
    """After a new key came first, nothing needs the old one once all was sealed anew."""
    secrets, _ = SecretSet(OWNER).with_new(keys, SECRET, 1)
    other = new_line("k2")
    anew = secrets.sealed_anew(TriggerKeys.parse(f"{other}\n{line}"))

    assert anew.opened(TriggerKeys.parse(other)) == [SECRET]
    assert [one.id for one in anew.kept] == [one.id for one in secrets.kept]


def test_settings_name_the_keys(line: str, tmp_path: Path) -> None:
    """From the variable or the file, never both; without either there are none."""
    file = tmp_path / "keys"
    file.write_text(line)
    assert TriggerKeys.of_settings(Settings()) is None
    assert TriggerKeys.of_settings(Settings(trigger_keys=line)) is not None
    assert TriggerKeys.of_settings(Settings(trigger_keys_file=file)) is not None
    with pytest.raises(Invalid, match="not both"):
        TriggerKeys.of_settings(Settings(trigger_keys=line, trigger_keys_file=file))
    with pytest.raises(Invalid, match="trigger keys cannot be read"):
        TriggerKeys.of_settings(Settings(trigger_keys_file=tmp_path / "none"))
    with pytest.raises(Invalid, match="trigger key 1"):
        TriggerKeys.parse("k1:short")
    with pytest.raises(Unavailable, match="no trigger key"):
        needed(None)
