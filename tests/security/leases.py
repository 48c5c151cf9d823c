"""Which children of a sandbox have runs."""

from __future__ import annotations

from sandbox.supervisor import Sandbox
from sandbox.zygote import Child
from tests.deadline import Deadline


def leased_children(box: Sandbox) -> list[Child]:
    """Give the children that runs have."""
    zygote = box._zygote
    return [] if zygote is None else [one for one in zygote._alive.values() if one.leased]


async def leased(box: Sandbox, count: int) -> list[Child]:
    """Wait until so many runs have their children; give these."""

    async def there() -> list[Child]:
        found = leased_children(box)
        return found if len(found) == count else []

    return await Deadline().reached(there, "a child for each run")
