"""What the routes of hooks and callbacks work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis

from core.settings import Settings
from runs.store import RunStore
from triggers.callback_store import CallbackStore
from triggers.callback_url import UrlPolicy
from triggers.delivery_log import DeliveryLog
from triggers.hook_store import HookStore
from triggers.receiving import Receiving
from triggers.starting import Starter
from triggers.trigger_keys import TriggerKeys


@dataclass(frozen=True)
class Triggers:
    """Hooks and the door for their events, callback endpoints and their deliveries."""

    hooks: HookStore
    receiving: Receiving
    callbacks: CallbackStore
    deliveries: DeliveryLog

    @classmethod
    def of(
        cls, settings: Settings, redis: Redis, store: RunStore, trigger_keys: TriggerKeys | None
    ) -> Self:
        """Put them together."""
        return cls(
            HookStore(redis, trigger_keys),
            Receiving(redis, Starter(redis, store), trigger_keys),
            CallbackStore(redis, trigger_keys, UrlPolicy.of_settings(settings)),
            DeliveryLog(redis),
        )
