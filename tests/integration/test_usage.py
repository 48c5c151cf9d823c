"""The usage report adds up to the ledger's leaves, whatever happens to it and to the archive."""

from __future__ import annotations

import csv
import io
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from core import keys
from core.errors import Unavailable
from core.ids import new_id
from core.redis_client import connect
from ledger.archive import Found
from ledger.leaves import LeafKind, leaf
from ledger.usage import Usage, Wanted
from ledger.usage_rows import COLUMNS, Place, UsageRow, Used, csv_head, csv_row, fold
from tests.archive_kinds import DIRECTORY, SQLITE, place_of
from tests.sequencing import ended_run, plain, taking

DAY_MS = 86_400_000
NAME = "usage.db"
ALWAYS = Wanted("0000-00-00", "9999-12-31")
BY_KEY = Wanted("0000-00-00", "9999-12-31", by_key=True)


class Leaves:
    """As much of an archive as a report reads."""

    def __init__(self, data: Sequence[bytes]) -> None:
        self.data = list(data)

    @property
    def size(self) -> int:
        """Count them."""
        return len(self.data)

    def leaves(self, start: int = 0) -> Any:
        """Give all from `start` on, in order."""
        return iter([Found(index, one) for index, one in enumerate(self.data)][start:])


def end(at_ms: int = 0, tenant: str = "acme", key: Any = "key_1", **facts: Any) -> bytes:
    """Make the leaf of a run's end."""
    usage = dict.fromkeys(("instructions", "memory_bytes", "cpu_ms", "wall_ms"), 1)
    said = {"reason": "ok", "attempt": 1, "usage": usage | {"output_bytes": 1, "calls": 3}}
    said |= {"calls": {"succeeded": 2, "open": 1}, "called": {"mux": 2}}
    run = new_id("run")
    return leaf(LeafKind.RUN_FINISHED, run, tenant=tenant, at_ms=at_ms, key=key, **(said | facts))


def summed(rows: Sequence[UsageRow]) -> Used:
    """Add rows up."""
    total = Used()
    for row in rows:
        total.add(row.used)
    return total


def followed(data: Sequence[bytes], path: Path | None = None) -> Usage:
    """Make the sums of some leaves."""
    usage = Usage(path)
    archive: Any = Leaves(data)
    assert usage.follow(archive)
    return usage


def test_rows_add_up_to_the_leaves_in_every_way() -> None:
    """By day, tenant and key, each end counts once; other leaves count nothing."""
    data = [
        end(0),
        end(DAY_MS - 1, key="key_2", reason="script_error", attempt=3),
        end(DAY_MS, called={"mux": 1, "mcp.files": 4}),
        end(DAY_MS, tenant="globex", key=None),
        leaf(LeafKind.RUN_ACCEPTED, "run_1", tenant="acme", at_ms=0),
        leaf(LeafKind.KEY_CREATED, "key_1", tenant="acme", at_ms=0),
    ]
    usage = followed(data)
    tenants, of_keys = list(usage.rows(ALWAYS)), list(usage.rows(BY_KEY))
    assert [row.place for row in tenants] == [
        Place("1970-01-01", "acme"),
        Place("1970-01-02", "acme"),
        Place("1970-01-02", "globex"),
    ]
    assert [(row.place.day, row.place.key) for row in of_keys] == [
        ("1970-01-01", "key_1"),
        ("1970-01-01", "key_2"),
        ("1970-01-02", "key_1"),
        ("1970-01-02", "-"),
    ]
    assert summed(tenants).to_json() == summed(of_keys).to_json()
    total = summed(tenants)
    assert (total.runs, total.attempts, total.calls, total.instructions) == (4, 6, 12, 4)
    assert total.reasons == {"ok": 3, "script_error": 1}
    assert total.called == {"mux": 7, "mcp.files": 4}
    assert usage.counted == len(data)


@pytest.mark.parametrize(
    ("attempt", "usage", "unmetered"),
    [
        (1, {"instructions": 0, "cpu_ms": 90, "wall_ms": 90}, 1),  # its child was killed
        (3, {"instructions": 0, "cpu_ms": 0, "wall_ms": 0}, 1),  # its workers were lost
        (1, {}, 1),
        (1, {"instructions": 7}, 0),
        (0, {"instructions": 0}, 0),  # it never began
    ],
)
def test_ends_that_do_not_tell_what_was_used_are_counted(
    attempt: int, usage: dict[str, int], unmetered: int
) -> None:
    """0 instructions of a run that began mean that nobody knows: the report says how often."""
    (row,) = followed([end(attempt=attempt, usage=usage)]).rows(ALWAYS)
    assert (row.used.runs, row.used.unmetered) == (1, unmetered)
    assert row.used.cpu_ms == usage.get("cpu_ms", 0)


def test_following_little_by_little_gives_the_same(tmp_path: Path) -> None:
    """Whether leaves come one by one, at once, or the file is closed in between: the same sums."""
    data = [end(number * DAY_MS // 7, key=f"key_{number % 3}") for number in range(40)]
    archive: Any = Leaves([])
    for one in data:
        archive.data.append(one)
        with closing(Usage(tmp_path / NAME)) as usage:
            assert usage.follow(archive)
    with closing(Usage(tmp_path / NAME)) as usage:
        assert usage.follow(archive)
        for wanted in (ALWAYS, BY_KEY):
            once = followed(data).rows(wanted)
            assert [row.to_json() for row in usage.rows(wanted)] == [one.to_json() for one in once]


def test_several_users_of_one_file_count_nothing_twice(tmp_path: Path) -> None:
    """Four that follow at the same moment give the sums of one."""
    archive: Any = Leaves([end(number) for number in range(9_000)])

    def follow() -> None:
        with closing(Usage(tmp_path / NAME)) as usage:
            assert usage.follow(archive)

    threads = [threading.Thread(target=follow) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    with closing(Usage(tmp_path / NAME)) as usage:
        assert summed(list(usage.rows(ALWAYS))).runs == 9_000


def test_another_log_is_never_added_to_the_old(tmp_path: Path) -> None:
    """An archive that was replaced, or cut off, has its sums made anew."""
    first = [end(number) for number in range(10)]
    followed(first, tmp_path / NAME).close()
    for other in ([end(number) for number in range(25)], first[:4], []):
        usage = followed(other, tmp_path / NAME)
        assert summed(list(usage.rows(ALWAYS))).runs == len(other)
        assert usage.counted == len(other)
        usage.close()


def test_time_bounds_a_call_and_loses_nothing() -> None:
    """What is not added within the time is added by the next call."""
    archive: Any = Leaves([end(number) for number in range(5_000)])
    usage = Usage()
    calls = 1
    while not usage.follow(archive, within_s=0.0):
        calls += 1
    assert calls > 1
    assert summed(list(usage.rows(ALWAYS))).runs == 5_000


@pytest.mark.parametrize(
    "forged",
    [
        {"usage": None},
        {"usage": []},
        {"usage": {"instructions": "many", "cpu_ms": -5, "wall_ms": 1.5, "memory_bytes": True}},
        {"usage": {"instructions": 2**62, "cpu_ms": 10**18}},
        {"calls": "none", "called": ["mux"]},
        {"called": {"=cmd|x": 1, "a b": 2, "": 3}},
        {"reason": "=1+1"},
        {"reason": ["ok"]},
        {"attempt": "3"},
        {"key": "=HYPERLINK()"},
        {"key": 7},
        {"key": "key_1\r\nx,y"},
    ],
)
def test_a_forged_leaf_breaks_no_report(forged: dict[str, Any]) -> None:
    """What is no number counts as none, and nothing becomes a formula or another row."""
    rows = list(followed([end(), end(**forged)] * 3).rows(BY_KEY))
    assert summed(rows).runs == 6
    text = csv_head() + "".join(map(csv_row, rows))
    table = list(csv.reader(io.StringIO(text, newline="")))
    assert len(table) == 1 + len(rows)
    for cells in table:
        assert len(cells) == len(COLUMNS)
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in cells)
        assert not any(cell.startswith("-") and cell != "-" for cell in cells)


@pytest.mark.parametrize("at_ms", [-1, 2**64 - 1, None, "0", 2**63, 1.5])
def test_a_forged_time_is_the_first_day(at_ms: Any) -> None:
    """An end without a time counts all the same."""
    (row,) = followed([end(at_ms)]).rows(ALWAYS)
    assert row.place.day == "1970-01-01"


def test_pages_have_every_row_once() -> None:
    """Whatever the size of a page, no row is lost or given twice, one without a tenant either."""
    data = [end(number * DAY_MS, tenant=name) for number in range(4) for name in ("", "b", "c")]
    usage = followed(data)
    for limit in (1, 2, 5, 12, 1_000, 10**9, 0, -3):
        seen: list[Place] = []
        after: Place | None = None
        while True:
            rows, after = usage.page(ALWAYS, after, limit)
            seen += [row.place for row in rows]
            if after is None:
                break
        assert len(seen) == len(set(seen)) == 12
        assert seen == sorted(seen, key=lambda place: (place.day, place.tenant))


def test_a_tenant_is_a_value_and_never_part_of_a_question() -> None:
    """What looks like SQL finds nothing, and changes nothing."""
    usage = followed([end()])
    for evil in ("' OR 1=1 --", "acme'; DROP TABLE used; --", "%", "_"):
        assert list(usage.rows(Wanted("0000", "9999", tenant=evil))) == []
        assert list(usage.rows(Wanted("0000", "9999", by_key=True, key=evil))) == []
    assert len(list(usage.rows(ALWAYS))) == 1


def test_a_file_that_is_none_is_told_and_one_of_another_version_made_anew(tmp_path: Path) -> None:
    """Nothing is counted over what cannot be read, and nothing old is kept by mistake."""
    (tmp_path / "broken.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable):
        Usage(tmp_path / "broken.db")
    followed([end()], tmp_path / NAME).close()
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        db.execute("PRAGMA user_version = 99")
    with closing(Usage(tmp_path / NAME)) as usage:
        assert usage.counted == 0


@pytest.mark.parametrize("kind", [SQLITE, DIRECTORY])
def test_the_report_of_an_archive_adds_up_to_its_leaves(
    redis_sync: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Read back leaf by leaf, an archive of either kind says what the report says."""
    with place_of(kind, tmp_path, monkeypatch) as place, taking(redis_sync, place) as one:
        usage, runs = Usage(), 0
        for _ in range(3):
            plain(redis_sync, 5)
            for calls in (0, 1, 7):
                ended_run(redis_sync, calls=calls)
                runs += 1
            one.drain()
            usage.follow(one.archive)
        ends = [fields for fields in one.leaves() if fields["kind"] == "run.finished"]
        told = summed(list(usage.rows(ALWAYS)))
        assert told.runs == len(ends) == runs
        assert told.calls == sum(sum(fields["calls"].values()) for fields in ends) == 24
        assert told.called == {"mux": 24}
        assert usage.counted == one.archive.size


def test_sums_do_not_depend_on_the_order_of_leaves() -> None:
    """The same ends in another order are the same rows."""
    data = [end(number, key=f"key_{number % 4}", attempt=number) for number in range(30)]
    assert {place: one.to_json() for place, one in fold(data).items()} == {
        place: one.to_json() for place, one in fold(reversed(data)).items()
    }


def test_a_sum_is_read_back_as_it_was_kept() -> None:
    """What is stored between two stretches of leaves loses nothing."""
    used = Used.of_leaf(orjson.loads(end(called={"mux": 2, "other": 1})))
    assert Used.of_json(used.to_json()) == used
    assert used.called == Counter({"mux": 2, "other": 1})


def test_nothing_of_usage_stands_in_redis(redis_url: str) -> None:
    """The report needs no counter that could be lost or set: Redis has none."""
    with connect(redis_url) as client:
        ended_run(client)
        names: Any = client.keys("*usage*")
        assert names == []
        assert client.xlen(keys.LEDGER_INBOX) > 0
