"""A process counts the processors and the memory that it may use, not those of the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import settings
from core.allotment import memory_bytes, processors

ALL = float(len(os.sched_getaffinity(0)))
WHOLE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def groups(root: Path, own: str, file: str, bounds: dict[str, str]) -> tuple[Path, Path]:
    """Lay out control groups: what `file` holds, by path of the group."""
    for name, text in bounds.items():
        folder = root / "groups" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    (root / "own").write_text(own)
    return root / "groups", root / "own"


@pytest.mark.parametrize(
    ("own", "bounds", "expected"),
    [
        ("0::/\n", {".": "50000 100000\n"}, 0.5),  # as it looks from within a container
        ("0::/a/b\n", {"a/b": "max 100000\n", "a": "25000 100000\n"}, 0.25),
        ("0::/a/b\n", {"a/b": "10000 100000\n", "a": "max 100000\n"}, 0.1),
        ("12:cpu:/x\n0::/a\n", {"a": "30000 100000\n"}, 0.3),
        ("0::/a\n", {"a": "max 100000\n", "b": "1000 100000\n"}, ALL),
        ("0::/a\n", {"a": "6400000 100000\n"}, ALL),
        ("0::/a\n", {"a": "half of one\n"}, ALL),
        ("0::/a\n", {"a": ""}, ALL),
        ("1:cpu:/a\n", {"a": "1000 100000\n"}, ALL),
    ],
)
def test_the_tightest_bound_on_the_way_up_counts(
    tmp_path: Path, own: str, bounds: dict[str, str], expected: float
) -> None:
    """Each group bounds all that is in it; one beside it bounds nothing."""
    assert processors(*groups(tmp_path, own, "cpu.max", bounds)) == expected


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"a": "1073741824\n", "a/b": "max\n"}, 1 << 30),
        ({"a": "max\n", "a/b": "1048576\n"}, 1 << 20),
        ({"c": "4096\n"}, WHOLE),
    ],
)
def test_memory_is_bounded_in_the_same_way(
    tmp_path: Path, bounds: dict[str, str], expected: int
) -> None:
    """The least of what this group and those around it allow, else all there is."""
    assert memory_bytes(*groups(tmp_path, "0::/a/b\n", "memory.max", bounds)) == expected


def test_without_control_groups_nothing_is_bounded(tmp_path: Path) -> None:
    """There is nothing to read, as on macOS."""
    nowhere = tmp_path / "none"
    assert processors(nowhere, nowhere) == ALL
    assert memory_bytes(nowhere, nowhere) == WHOLE


def test_a_process_bound_to_one_processor_counts_one() -> None:
    """Whatever its host has."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from core.allotment import processors; print(processors())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert 0 < float(told.stdout) <= 1


@pytest.mark.parametrize(
    ("count", "memory", "slots"),
    [
        (2.0, 32 << 30, 16),
        (0.5, 32 << 30, 4),
        (0.01, 32 << 30, 1),
        (128.0, 256 << 30, 64),
        (8.0, 2 << 30, 32),
        (8.0, 1 << 20, 1),
    ],
)
def test_a_worker_has_slots_for_what_it_may_use(
    monkeypatch: pytest.MonkeyPatch, count: float, memory: int, slots: int
) -> None:
    """Eight to a processor, and 64 MiB to each; one at least, 64 at most."""
    monkeypatch.setattr(settings, "processors", lambda: count)
    monkeypatch.setattr(settings, "memory_bytes", lambda: memory)
    assert settings.Settings().slots == slots
