"""Cron in time zones: which moment comes next, and that none is lost or comes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from triggers.cron import Cron, check_zone
from triggers.timing import (
    ON_TIME_MS,
    ByCron,
    Every,
    Jitter,
    Once,
    due_now,
    fires_per_minute,
    read_timing,
)

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"


def fires(expression: str, zone: str, start: str, count: int) -> list[str]:
    """Give the next moments, in local time."""
    cron, at = Cron.parse(expression, zone, NOW), datetime.fromisoformat(start)
    found = []
    for _ in range(count):
        moment = cron.next_after(at)
        assert moment is not None
        assert moment > at
        at = moment
        found.append(at.astimezone(ZoneInfo(zone)).strftime("%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        (  # 02:30 lies in the gap: when it is over, once
            *("30 2 * * *", BERLIN, "2026-03-28T12:00+01:00"),
            ["29 03:00+0200", "30 02:30+0200"],
        ),
        (  # three in the gap are one
            *("*/20 2 * * *", BERLIN, "2026-03-28T12:00+01:00"),
            ["29 03:00+0200", "30 02:00+0200", "30 02:20+0200"],
        ),
        (  # hours are `*`: each hour that passes
            *("0 * * * *", BERLIN, "2026-03-29T00:30+01:00"),
            ["29 01:00+0100", "29 03:00+0200", "29 04:00+0200"],
        ),
        (  # 02:30 comes twice: the first time
            *("30 2 * * *", BERLIN, "2026-10-24T12:00+02:00"),
            ["25 02:30+0200", "26 02:30+0100"],
        ),
        (  # from within the second time
            *("*/20 2 * * *", BERLIN, "2026-10-25T02:10+01:00"),
            ["26 02:00+0100", "26 02:20+0100"],
        ),
        (
            *("30 * * * *", BERLIN, "2026-10-25T01:00+02:00"),
            ["25 01:30+0200", "25 02:30+0200", "25 02:30+0100", "25 03:30+0100"],
        ),
        (  # a change of half an hour
            *("15 2 * * *", LORD_HOWE, "2026-10-03T12:00+10:30"),
            ["04 02:30+1100", "05 02:15+1100"],
        ),
        (  # a whole day that never was
            *("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00-10:00"),
            ["29 12:00-1000", "31 00:00+1400", "31 12:00+1400"],
        ),
        (  # midnight that never was
            *("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00-03:00"),
            ["04 01:00-0200", "05 00:00-0200"],
        ),
        (*("0 0 29 2 *", "UTC", "2096-03-01T00:00+00:00"), ["29 00:00+0000"]),
        (*("@weekly", "UTC", "2026-11-23T00:00+00:00"), ["29 00:00+0000"]),
        (*("0 9 * * mon#2", "UTC", "2026-11-23T00:00+00:00"), ["14 09:00+0000"]),
        (*("0 9 L * *", "UTC", "2026-11-23T00:00+00:00"), ["30 09:00+0000", "31 09:00+0000"]),
    ],
)
def test_moments_come_as_they_should(
    expression: str, zone: str, start: str, expected: list[str]
) -> None:
    """Across gaps, folds, days that never were and leap years."""
    assert fires(expression, zone, start, len(expected)) == expected


@given(
    expression=st.sampled_from(
        ["*/7 * * * *", "30 2 * * *", "0 0,2,3 * * *", "15 */3 * * *", "0 0 * * 0", "59 23 31 * *"]
    ),
    zone=st.sampled_from([BERLIN, LORD_HOWE, "America/St_Johns", "Africa/Casablanca", "UTC"]),
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 6, 1)),  # noqa: DTZ001
    minutes=st.integers(0, 3_000),
)
def test_it_does_not_matter_from_where_one_looks(
    expression: str, zone: str, start: datetime, minutes: int
) -> None:
    """From any moment before the next one, the next one is the same."""
    cron = Cron(expression, zone)
    begin = start.replace(tzinfo=UTC)
    first = cron.next_after(begin)
    assert first is not None
    between = begin + timedelta(minutes=minutes)
    if between < first:
        assert cron.next_after(between) == first
    following = cron.next_after(first)
    assert following is not None
    assert following > first
    assert cron.some_before(following, 2) <= first


@pytest.mark.parametrize(
    "expression",
    [
        *("", "* * * *", "* * * * * * *", "61 * * * *", "* 25 * * *", "*/0 * * * *", "x * * * *"),
        *("0 0 30 2 *", "0 0 31 4,6 *", "H * * * *", "R * * * *", "@reboot", "@every 5s"),
        *("0 0 * * 1#9", "1-99999999 * * * *", "0," * 99 + "0 * * * *", "\u0661 * * * *"),
        *("* * * * *; rm", "${x} * * * *", "0\x000 * * * *"),
    ],
)
def test_what_never_fires_or_means_nothing_is_refused(expression: str) -> None:
    """With the field that is wrong."""
    with pytest.raises(Invalid) as wrong:
        Cron.parse(expression, "UTC", NOW)
    assert wrong.value.pointer == "/cron"


@pytest.mark.parametrize(
    "zone",
    ["", "Berlin", "Europe/Berln", "../../etc/passwd", "/etc/localtime", "localtime", "UTC+1"],
)
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """No file is opened by its name; the nearest is told."""
    with pytest.raises(Invalid) as wrong:
        check_zone(zone)
    assert wrong.value.hint


# --- what is due ----------------------------------------------------------------------------------

NONE = Jitter("sch", 0)


@given(
    late=st.integers(0, 200), most=st.integers(1, 50), kind=st.sampled_from(["skip", "once", "all"])
)
def test_each_moment_is_fired_or_missed(late: int, most: int, kind: str) -> None:
    """None is left out, none counted twice, and the newest are those that are made up for."""
    timing = Every(1_000, 1_000)
    now_ms = 1_000 + late * 1_000
    due = due_now(timing, NONE, 1_000, now_ms, (kind, most))  # type: ignore[arg-type]

    assert due.missed + len(due.fires) == late + 1
    assert due.fires == list(range(due.fires[0], now_ms + 1, 1_000)) or kind == "once"
    assert due.next_ms == now_ms + 1_000
    on_time = [one for one in due.fires if now_ms - one <= ON_TIME_MS]
    made_up = {"skip": 0, "once": 1, "all": most}[kind]
    assert len(due.fires) - len(on_time) == min(made_up, max(late - 10, 0))
    if due.missed:
        assert due.missed_from_ms == 1_000
        assert due.missed_until_ms < due.fires[-1]


def test_jitter_is_the_same_for_one_moment_and_bounded() -> None:
    """Moments keep their order and their number; each is late by an amount of its own."""
    jitter, timing = Jitter("sch", 5_000), Every(60_000, 60_000)
    moments = [60_000 * n for n in range(1, 200)]
    late = [jitter.due_ms(one) - one for one in moments]
    assert late == [jitter.due_ms(one) - one for one in moments]
    assert min(late) >= 0
    assert max(late) <= 5_000
    assert len(set(late)) > 100
    due = due_now(timing, jitter, 60_000, 60_000 + late[0] - 1, ("skip", 1))
    assert (due.fires, due.missed, due.next_ms) == ([], 0, 60_000)


def test_how_often_it_fires() -> None:
    """Where it fires most often, so that bounds hold there too."""
    at_ms = round(NOW.timestamp() * 1000)
    every_second = ByCron(Cron("* * * * * *", "UTC"))
    assert fires_per_minute(every_second, at_ms) == 60
    assert fires_per_minute(ByCron(Cron("0 3 * * *", "UTC")), at_ms) == 1
    assert fires_per_minute(Every(1_000, 0), at_ms) == 60
    assert fires_per_minute(Once(at_ms + 1), at_ms) == 0


def test_a_moment_is_local_unless_it_says_otherwise() -> None:
    """An offset of its own goes before the zone."""
    local = read_timing(None, None, "2099-07-01T12:00", zone=BERLIN, now_ms=0)
    fixed = read_timing(None, None, "2099-07-01T12:00:00+02:00", zone="UTC", now_ms=0)
    for moment, same in (
        ("2027-03-28T02:30", "2027-03-28T03:30+02:00"),  # in a gap
        ("2027-10-31T02:30", "2027-10-31T02:30+02:00"),  # comes twice
    ):
        zoned = read_timing(None, None, moment, zone=BERLIN, now_ms=0)
        assert zoned == read_timing(None, None, same, zone="UTC", now_ms=0)
    assert local.next_after(0) == fixed.next_after(0)
