"""The Lua scripts that Redis runs: they load, they name known keys, they survive a restart."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import fakeredis
import pytest

import runs
from core import keys
from runs.redis_scripts import Arg, load

FOLDER = Path(runs.__file__).parent / "scripts"
NAMES = sorted(path.stem for path in FOLDER.glob("*.lua"))

#: Every key of ours, the id at its end left off.
KNOWN = (
    {value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)}
    | {
        make("")
        for make in (
            keys.run,
            keys.tape,
            keys.events,
            keys.script,
            keys.surface,
            keys.tenant_runs,
            keys.cancel,
            keys.approvals,
            keys.asked,
            keys.rate,
            keys.places,
            keys.batch,
            keys.tenant_batches,
            keys.terms,
            keys.quota,
            lambda tenant: keys.idempotency(tenant, "").rstrip(":") + ":",
            keys.stored,
            keys.grants,
            lambda tenant: keys.vault_key(tenant).removesuffix(":key"),
            lambda tenant: keys.queued_of_key(tenant, "").rstrip(":") + ":",
            lambda tenant: keys.running_of_key(tenant, "").rstrip(":") + ":",
            lambda tenant: keys.held_of_key(tenant, "").rstrip(":") + ":",
            keys.hook,
            keys.hook_events,
            keys.callback,
            keys.callback_lanes,
            keys.callback_lane,
            keys.callback_flight,
            keys.callback_quick,
            keys.delivery,
            keys.deliveries,
            keys.sync,
            keys.filling,
            keys.mux_job,
            lambda connection: keys.mux_event(connection, "").rstrip(":") + ":",
            keys.saved_scripts,
            keys.saved_gone,
            keys.saved_bytes,
            keys.schedules,
            keys.schedule_rate,
            keys.schedule,
            keys.schedule_waiting,
            keys.schedule_history,
        )
    }
    | {
        make("", "").removesuffix(":")
        for make in (keys.batch_key, keys.saved_script, keys.saved_texts, keys.saved_aliases)
    }
)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_names_only_keys_that_are_in_the_vocabulary(name: str) -> None:
    """A key spelt wrong in Lua would be a key of its own, silently."""
    text = (FOLDER / f"{name}.lua").read_text("utf-8")

    assert set(re.findall(r"'(ms:[a-z-]+(?::[a-z]+)?:?)", text)) <= KNOWN


@pytest.mark.parametrize("name", NAMES)
def test_a_script_has_what_it_includes_and_the_digest_redis_will_know(name: str) -> None:
    """Includes are resolved; the digest is that of the text as sent."""
    script = load(name)

    assert "--#include" not in script.text
    assert script.sha1 == hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()


async def test_a_script_that_redis_forgot_is_sent_again() -> None:
    """NOSCRIPT is no error: the text follows the digest."""
    args: list[Arg] = ["run_x", "acme", 0, 0, "", "{}", "", 1, 0]
    async with fakeredis.FakeAsyncRedis() as client:
        assert await load("cancel").run_async(client, args) is None
        await client.script_flush()
        assert await load("cancel").run_async(client, args) is None
