"""The shapes of hooks, callback endpoints and deliveries over HTTP, beyond those of the stores."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from runs.model import Priority
from triggers.callback_url import MAX_URL_CHARS
from triggers.callbacks import MAX_NAME_CHARS, DeliveryRecord, Endpoint
from triggers.hooks import Hook, HookTerms
from triggers.verification.plain_hmac import PlainHmac
from triggers.verification.schemes import MAX_SECRET_CHARS

_HOW_KEPT = (
    "The secret that the sender signs with, if it makes one itself. Where it does not, "
    "one is made and shown in the answer, this once."
)


class Strict(BaseModel):
    """A body: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HookBody(HookTerms):
    """A hook to make."""

    secret: str | None = Field(default=None, max_length=MAX_SECRET_CHARS, description=_HOW_KEPT)


class HookChangeBody(Strict):
    """What to change of a hook; what is left out stays."""

    name: str = Field(default="", min_length=1, max_length=MAX_NAME_CHARS)
    script_ref: str = Field(default="", max_length=200)
    form: PlainHmac | None = None
    event_id: str | None = None
    input: Literal["event", "body"] = "event"
    tolerance_s: int = Field(default=300, ge=10, le=3_600)
    priority: Priority = Priority.NORMAL
    callback: str | None = Field(default=None, max_length=MAX_URL_CHARS)
    enabled: bool = True


class SecretBody(Strict):
    """A secret to keep; without one it is made where the sender does not make it itself."""

    secret: str | None = Field(default=None, max_length=MAX_SECRET_CHARS, description=_HOW_KEPT)


class HookMade(Hook):
    """A hook, and the secret that was made for it, shown this once."""

    secret: str | None = None


class HookList(BaseModel):
    """A page of hooks, newest first."""

    data: list[Hook]
    next_cursor: str | None = None
    has_more: bool = False


class EventTaken(BaseModel):
    """
    An event was taken. `run` is the run that it started.

    With `repeated` it was taken before, and started nothing now.
    """

    received: Literal[True] = True
    repeated: bool = False
    run: str | None = None


class CallbackBody(Strict):
    """An endpoint to make. Without `url` it signs what goes to addresses that runs name."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    url: str | None = Field(default=None, description="`https://`, a public host.")


class CallbackChangeBody(Strict):
    """What to change of an endpoint; what is left out stays."""

    name: str | None = Field(default=None, min_length=1, max_length=MAX_NAME_CHARS)
    url: str | None = None
    enabled: bool | None = Field(
        default=None, description="False switches it off; true on, as if it had never failed."
    )


class CallbackMade(Endpoint):
    """An endpoint, and its new secret, shown this once."""

    secret: str


class CallbackList(BaseModel):
    """A page of endpoints, newest first."""

    data: list[Endpoint]
    next_cursor: str | None = None
    has_more: bool = False


class DeliveryList(BaseModel):
    """A page of deliveries, newest first."""

    data: list[DeliveryRecord]
    next_cursor: str | None = None
    has_more: bool = False
