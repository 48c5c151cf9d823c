"""
Cron expressions in a time zone: which moment comes next, also where clocks are put forward or back.

Runs in: api, scheduler, CLI. Trusts: croniter for the fields, the zone database for offsets.
Refuses: an expression that never fires, an unknown zone, fields that mean something at random.
May import: stdlib, croniter, core.

Between two changes of a zone's offset, local time is a straight line: there the fields decide
alone. At a change,
- what lies in a gap (02:30 where clocks go from 02:00 to 03:00) fires once, when the gap is over;
- what lies in a fold (02:30 where clocks go from 03:00 back to 02:00) fires the first time only;
- an expression whose hours are `*` goes by elapsed time: it leaves nothing out and makes up for
  nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterBadDateError, CroniterError, croniter

from core.errors import Invalid

MAX_CHARS = 200
#: What fires less often is taken to fire never; 29 February takes 8 years around 2100.
YEARS = 9
_SECOND = timedelta(seconds=1)
#: No zone changes its offset and back again within it.
_STRIDE = timedelta(days=7)
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_WORDS = frozenset(
    (
        *("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
        *("sun", "mon", "tue", "wed", "thu", "fri", "sat", "l"),
    )
)
_FIELD = re.compile(r"[0-9a-z*/,\-?#]+")
_EXAMPLE = (
    "as in `0 3 * * *`, minute hour day month weekday, with seconds in front if there are six"
)


@dataclass(frozen=True)
class Cron:
    """
    An expression of five fields, or of six with seconds first, in a time zone.

    Where both day and weekday are limited, either will do.
    """

    expression: str
    zone: str

    @classmethod
    def parse(cls, text: str, zone: str, now: datetime) -> Cron:
        """
        Take an expression that fires after `now`, sooner or later.

        Raises:
            Invalid: it is malformed or never fires; the zone is unknown.
        """
        made = cls(_canonical(text), check_zone(zone))
        if made.next_after(now) is None:
            raise Invalid(f"it does not fire within {YEARS} years", pointer="/cron")
        return made

    def next_after(self, moment: datetime) -> datetime | None:
        """Give the first moment after `moment` at which it fires, in UTC; None: never."""
        lower = moment.astimezone(UTC).replace(microsecond=0)  # fires on whole seconds only
        offset = self._offset(lower + _SECOND)
        local = _naive(lower, offset)
        if not self._by_elapsed_time:
            local = self._after_second_pass(lower + _SECOND, local)
        while (found := self._next_local(local)) is not None:
            at = (found - offset).replace(tzinfo=UTC)
            change = self._first_change(lower, at, offset)
            if change is None:
                return at
            new = self._offset(change)
            if new > offset and not self._by_elapsed_time and found < _naive(change, new):
                return change
            skipped = max(new, offset) if not self._by_elapsed_time else new
            lower, offset, local = change - _SECOND, new, _naive(change, skipped) - _SECOND
        return None

    def some_before(self, moment: datetime, count: int) -> datetime:
        """Give a moment since which it has fired at least `count` times, or a very early one."""
        upper = moment.astimezone(UTC).replace(microsecond=0)
        local = _naive(upper, self._offset(upper)) + _SECOND
        walk = croniter(
            self.expression, local, max_years_between_matches=YEARS, second_at_beginning=True
        )
        try:
            for _ in range(count + 1):
                local = walk.get_prev(datetime)
        except CroniterBadDateError:
            return datetime.fromtimestamp(0, UTC)
        # Clocks may have been changed since then, by an hour or two.
        lower = (local - self._offset(upper)).replace(tzinfo=UTC)
        return lower - abs(self._offset(upper) - self._offset(lower))

    # --- parts ----------------------------------------------------------------------------------

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    @cached_property
    def _by_elapsed_time(self) -> bool:
        fields = self.expression.split()
        return fields[-4] == "*"

    def _offset(self, at: datetime) -> timedelta:
        offset = at.astimezone(self._zone).utcoffset()
        assert offset is not None  # noqa: S101 (every zone has one)
        return offset

    def _next_local(self, local: datetime) -> datetime | None:
        """Give what the fields name first after a local time."""
        walk = croniter(
            self.expression, local, max_years_between_matches=YEARS, second_at_beginning=True
        )
        try:
            found: datetime = walk.get_next(datetime)
        except CroniterBadDateError:
            return None
        return found

    def _first_change(self, low: datetime, high: datetime, offset: timedelta) -> datetime | None:
        """Give the first second after `low`, up to `high`, that has another offset."""
        while low < high:
            probe = min(low + _STRIDE, high)
            if self._offset(probe) != offset:
                while probe - low > _SECOND:
                    middle = low + timedelta(seconds=(probe - low) // _SECOND // 2)
                    low, probe = (middle, probe) if self._same(middle, offset) else (low, middle)
                return probe
            low = probe
        return None

    def _same(self, at: datetime, offset: timedelta) -> bool:
        return self._offset(at) == offset

    def _after_second_pass(self, at: datetime, local: datetime) -> datetime:
        """Give the last local time of a fold that `at` is in the second pass of, else `local`."""
        shown = at.astimezone(self._zone)
        before = shown.replace(fold=0).utcoffset()
        if shown.fold == 0 or before is None:
            return local
        change = self._first_change(at - (before - self._offset(at)), at, before)
        return _naive(change or at, before) - _SECOND


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """Give the names of all time zones that this host knows."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def check_zone(name: str) -> str:
    """
    Give `name` back if it names a time zone.

    Raises:
        Invalid: it does not; the hint names the nearest.
    """
    if name not in zones():
        near = get_close_matches(name[:60], zones(), n=1)
        raise Invalid(
            f"there is no time zone {name[:60]!a}",
            pointer="/time_zone",
            hint=f"did you mean {near[0]}?" if near else "give a name such as Europe/Berlin or UTC",
        )
    return name


def _naive(at: datetime, offset: timedelta) -> datetime:
    return at.replace(tzinfo=None) + offset


def _canonical(text: str) -> str:
    if len(text) > MAX_CHARS:
        raise Invalid(f"it has more than {MAX_CHARS} characters", pointer="/cron")
    fields = _NAMED.get(text.strip().lower(), text).lower().split()
    if len(fields) not in {5, 6}:
        raise Invalid(f"it must have five fields, {_EXAMPLE}", pointer="/cron")
    for number, field in enumerate(fields, 1):
        words = set(re.findall(r"[a-z]+", field))
        if _FIELD.fullmatch(field) is None or not words <= _WORDS:
            raise Invalid(
                f"field {number}, {field[:40]!a}, is none of cron: {_EXAMPLE}", pointer="/cron"
            )
    expression = " ".join(fields)
    try:
        croniter(expression, second_at_beginning=True)
    except CroniterError as wrong:
        raise Invalid(f"{str(wrong)[:200]}; {_EXAMPLE}", pointer="/cron") from None
    return expression
