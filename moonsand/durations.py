"""Lengths of time as people write them: `90d`, `12h`, `15m`, `30s`."""

from __future__ import annotations

import re

from moonsand.exits import UsageFault

_DURATION = re.compile(r"([0-9]{1,9})([dhms])")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def seconds_of(text: str, option: str) -> int:
    """
    Give a length of time in seconds.

    Raises:
        UsageFault: it is none; the message names the option.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageFault(
            f"{option} takes a number of days, hours, minutes or seconds: `90d`, `12h`"
        )
    return int(found[1]) * _SECONDS[found[2]]
