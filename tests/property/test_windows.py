"""Windows of quotas: at whatever moments runs come, none ever holds more than its quota."""

from __future__ import annotations

from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import keys
from runs.redis_scripts import load

ALLOWED = 10
BEGIN_S = 1_800_000_000
HASH = keys.quota("acme")
#: As `lib_quota.lua` uses the window, at a given time: 1 and the sum, or 0, the sum, the wait.
DRIVER = (
    load("lib_window").text
    + """
local now_s, span_s, amount, allowed = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), 10
local seen = look(ARGV[1], 'q', span_s, now_s)
if seen.sum + amount > allowed then
  return { 0, seen.sum, free_s(seen, seen.sum + amount - allowed, now_s) }
end
if amount > 0 then count(seen, amount) end
return { 1, seen.sum, seen.sum > 0 and leaves_s(seen, seen.old, now_s) or 0 }
"""
)
moments = st.lists(
    st.tuples(st.one_of(st.integers(0, 3), st.integers(55, 66), st.integers(0, 400)),
              st.integers(1, 6)),
    min_size=1, max_size=40,
)  # fmt: skip
bounded = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def ask(client: redis.Redis, at_s: int, span_s: int, amount: int) -> tuple[int, int, int]:
    """Ask for `amount` at a moment."""
    answer: Any = client.eval(DRIVER, 0, HASH, at_s, span_s, amount)
    return int(answer[0]), int(answer[1]), int(answer[2])


@bounded
@given(moments=moments, span_s=st.sampled_from([60, 86_400]))
def test_no_span_ever_holds_more_than_the_quota(
    redis_sync: redis.Redis, moments: list[tuple[int, int]], span_s: int
) -> None:
    """Wherever a minute or a day begins; and what is told is what was counted."""
    redis_sync.delete(HASH)
    step_s, now, taken = span_s // 60, BEGIN_S, list[tuple[int, int]]()
    for pause, amount in moments:
        now += pause * step_s
        passed, total, after_s = ask(redis_sync, now, span_s, amount)
        if passed:
            taken.append((now, amount))
        inside = [one for at, one in taken if at // step_s >= now // step_s - 60]
        assert total == sum(inside)
        assert sum(one for at, one in taken if at > now - span_s) <= ALLOWED
        assert 1 <= after_s <= span_s + step_s


@bounded
@given(moments=moments, span_s=st.sampled_from([60, 86_400]))
def test_who_waits_as_long_as_told_passes_and_not_before(
    redis_sync: redis.Redis, moments: list[tuple[int, int]], span_s: int
) -> None:
    """`Retry-After` is neither too short nor longer than it must be."""
    redis_sync.delete(HASH)
    now = BEGIN_S
    for pause, amount in moments:
        now += pause
        passed, _, wait_s = ask(redis_sync, now, span_s, amount)
        if not passed:
            assert not ask(redis_sync, now + wait_s - 1, span_s, amount)[0]
            now += wait_s
            assert ask(redis_sync, now, span_s, amount)[0]


@bounded
@given(back_s=st.integers(0, 59))
def test_a_clock_that_goes_back_a_little_frees_nothing(
    redis_sync: redis.Redis, back_s: int
) -> None:
    """The window stands still until the clock is right again."""
    redis_sync.delete(HASH)
    assert ask(redis_sync, BEGIN_S, 60, ALLOWED)[0]
    assert not ask(redis_sync, BEGIN_S - back_s, 60, 1)[0]
    assert not ask(redis_sync, BEGIN_S + 60, 60, 1)[0]
    assert ask(redis_sync, BEGIN_S + 61, 60, 1)[0]


def test_a_clock_that_was_far_ahead_locks_nobody_out(redis_sync: redis.Redis) -> None:
    """What was counted at a time that cannot be true is forgotten; nothing of it is left."""
    assert ask(redis_sync, BEGIN_S + 10**7, 60, ALLOWED)[0]
    assert ask(redis_sync, BEGIN_S, 60, 4)[:2] == (1, 4)
    fields: Any = redis_sync.hgetall(HASH)
    assert set(fields) == {b"q:at", b"q:sum", b"q:old", b"q:%d" % BEGIN_S}
