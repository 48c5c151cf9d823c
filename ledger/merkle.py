"""
RFC 6962 Merkle trees over SHA-256: roots, and which subtrees a proof is made of.

Runs in: sequencer, api, CLI. Trusts: nothing. Refuses: proofs that do not hold, by giving False.
May import: stdlib.

A leaf is hashed after a zero byte, a pair of nodes after a one, so that no leaf passes for a node.
A *span* (start, end) stands for the hash of the leaves start to end - 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

Span = tuple[int, int]


def leaf_hash(data: bytes) -> bytes:
    """Hash the bytes of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into one."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Iterable[bytes]) -> bytes:
    """Give the root of a tree by the hashes of its leaves, holding only the right edge of it."""
    # Complete subtrees from left to right, each smaller than the one before: (leaves, hash).
    peaks: list[tuple[int, bytes]] = []
    for one in hashes:
        size, found = 1, one
        while peaks and peaks[-1][0] == size:
            found = node_hash(peaks.pop()[1], found)
            size *= 2
        peaks.append((size, found))
    if not peaks:
        return EMPTY_ROOT
    root = peaks.pop()[1]
    while peaks:
        root = node_hash(peaks.pop()[1], root)
    return root


def split(size: int) -> int:
    """Give the size of the left subtree: the greatest power of two below `size`, from 2."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_spans(index: int, size: int) -> list[Span]:
    """
    Say whose hashes prove that leaf `index` is in the tree of `size` leaves, lowest first.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    start, end = 0, size
    spans: list[Span] = []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start = middle
    return spans[::-1]


def consistency_spans(old: int, new: int) -> list[Span]:
    """
    Say whose hashes prove that the tree of `old` leaves is the beginning of that of `new`.

    Raises:
        ValueError: `old` is less than 1 or more than `new`.
    """
    if not 1 <= old <= new:
        raise ValueError(f"no tree of {old} leaves begins one of {new}")
    start, end = 0, new
    spans: list[Span] = []
    whole = True  # the old tree is, so far, a subtree that the verifier knows
    while end > old:
        middle = start + split(end - start)
        if old <= middle:
            spans.append((middle, end))
            end = middle
        else:
            spans.append((start, middle))
            start, whole = middle, False
    if not whole:
        spans.append((start, end))
    return spans[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Tell whether the leaf with the hash `leaf` is number `index` under `root`."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for one in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(one, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, one)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the tree of `new` leaves goes on from that of `old`."""
    if not 1 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for one in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(one, before), node_hash(one, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, one)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root
