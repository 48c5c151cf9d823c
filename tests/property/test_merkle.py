"""The Merkle tree: the published vectors, and equal to the definition for every size."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from ledger.tiles import (
    Edge,
    LedgerDamaged,
    TileId,
    prove_consistency,
    prove_inclusion,
    root_at,
)

#: The inputs and roots that Certificate Transparency's implementations publish for RFC 6962.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243"),
        *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = st.integers(1, 1_200)


def hashes_of(count: int) -> list[bytes]:
    """Give the hashes of `count` different leaves."""
    return [leaf_hash(b"%d" % number) for number in range(count)]


def naive_root(hashes: list[bytes]) -> bytes:
    """Give the root as RFC 6962 2.1 defines it."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    left = 1
    while left * 2 < len(hashes):
        left *= 2
    return node_hash(naive_root(hashes[:left]), naive_root(hashes[left:]))


def naive_inclusion(index: int, hashes: list[bytes]) -> list[bytes]:
    """Give PATH(m, D[n]) as RFC 6962 2.1.1 defines it."""
    if len(hashes) == 1:
        return []
    left = 1
    while left * 2 < len(hashes):
        left *= 2
    if index < left:
        return [*naive_inclusion(index, hashes[:left]), naive_root(hashes[left:])]
    return [*naive_inclusion(index - left, hashes[left:]), naive_root(hashes[:left])]


def naive_consistency(old: int, hashes: list[bytes], *, whole: bool = True) -> list[bytes]:
    """Give SUBPROOF(m, D[n], b) as RFC 6962 2.1.2 defines it."""
    if old == len(hashes):
        return [] if whole else [naive_root(hashes)]
    left = 1
    while left * 2 < len(hashes):
        left *= 2
    if old <= left:
        return [*naive_consistency(old, hashes[:left], whole=whole), naive_root(hashes[left:])]
    rest = naive_consistency(old - left, hashes[left:], whole=False)
    return [*rest, naive_root(hashes[:left])]


class Tiles:
    """A tree in tiles that keeps every tile it was given."""

    def __init__(self, hashes: list[bytes], batches: list[int]) -> None:
        self.tiles: dict[TileId, bytes] = {}
        edge = Edge(0, self.read)
        for batch in batches:
            part = hashes[edge.size : edge.size + batch]
            self.tiles |= edge.append(part)
            edge = Edge(edge.size, self.read)  # as after a restart
        self.tiles |= edge.append(hashes[edge.size :])
        self.root = edge.root()

    def read(self, level: int, number: int) -> bytes:
        """Give a tile."""
        return self.tiles[level, number]


def test_the_published_vectors_hold() -> None:
    """Leaves, nodes and roots are those of every other implementation of RFC 6962."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for count, expected in enumerate(ROOTS, 1):
        hashes = [leaf_hash(one) for one in INPUTS[:count]]
        assert root_of(hashes).hex() == expected
        assert Tiles(hashes, []).root.hex() == expected


def test_the_published_proofs_hold() -> None:
    """A path and a consistency proof of the reference tests."""
    hashes = [leaf_hash(one) for one in INPUTS]
    tree = Tiles(hashes, [])
    assert [one.hex() for one in prove_inclusion(tree.read, 5, 8)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [one.hex() for one in prove_consistency(tree.read, 6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(size=SIZES, batches=st.lists(st.integers(1, 300), max_size=6))
def test_appending_in_any_batches_gives_the_tree_of_the_definition(
    size: int, batches: list[int]
) -> None:
    """The root depends on the leaves alone, not on how they came or on restarts between."""
    hashes = hashes_of(size)
    assert Tiles(hashes, batches).root == root_of(hashes) == naive_root(hashes)


@given(size=SIZES, data=st.data())
def test_proofs_are_those_of_the_definition_and_hold(size: int, data: st.DataObject) -> None:
    """Proofs from tiles equal the definition's, verify, and verify for nothing else."""
    hashes = hashes_of(size)
    tree = Tiles(hashes, [size // 3])
    at = data.draw(st.integers(1, size))
    index = data.draw(st.integers(0, at - 1))
    old_root = root_at(tree.read, at)
    assert old_root == naive_root(hashes[:at])

    proof = prove_inclusion(tree.read, index, at)
    assert proof == naive_inclusion(index, hashes[:at])
    assert verify_inclusion(hashes[index], index, at, proof, old_root)
    assert not verify_inclusion(leaf_hash(b"x"), index, at, proof, old_root)
    assert not verify_inclusion(hashes[index], index, at, [*proof, b"\0" * 32], old_root)
    assert not verify_inclusion(hashes[index], at, at, proof, old_root)

    steps = prove_consistency(tree.read, at, size)
    assert steps == naive_consistency(at, hashes)
    assert verify_consistency(at, size, old_root, tree.root, steps)
    assert not verify_consistency(at, size, leaf_hash(b"x"), tree.root, steps)
    assert not verify_consistency(at, size, old_root, leaf_hash(b"x"), steps)


@given(size=st.integers(2, 600), data=st.data())
def test_a_changed_proof_holds_for_nothing(size: int, data: st.DataObject) -> None:
    """One flipped bit anywhere in a proof, or a neighbour's place, is refused."""
    hashes = hashes_of(size)
    tree = Tiles(hashes, [])
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(tree.read, index, size)
    place = data.draw(st.integers(0, len(proof) - 1))
    byte = data.draw(st.integers(0, 31))
    broken = bytearray(proof[place])
    broken[byte] ^= 1 << data.draw(st.integers(0, 7))
    wrong = [*proof[:place], bytes(broken), *proof[place + 1 :]]
    assert not verify_inclusion(hashes[index], index, size, wrong, tree.root)
    assert not verify_inclusion(hashes[index], (index + 1) % size, size, proof, tree.root)


@pytest.mark.parametrize(("old", "new"), [(0, 4), (5, 4), (4, 4)])
def test_a_consistency_proof_of_nothing_proves_nothing(old: int, new: int) -> None:
    """An empty proof holds for equal trees only."""
    root = root_of(hashes_of(4))
    assert verify_consistency(old, new, root, root, []) is (old == new)
    assert not verify_consistency(3, 4, root, root, [])


def test_a_short_tile_is_damage() -> None:
    """A tile with fewer hashes than the tree has leaves is refused, not read past its end."""
    tree = Tiles(hashes_of(300), [])
    tree.tiles[0, 1] = tree.tiles[0, 1][:-32]
    with pytest.raises(LedgerDamaged, match="tile 1 of level 0 has 43 hashes, not 44"):
        Edge(300, tree.read)
