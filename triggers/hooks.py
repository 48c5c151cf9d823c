"""
Inbound webhooks as they are stored and shown: what a hook does, and what came of it.

Runs in: api, CLI, clients. Trusts: nothing; it is data. Refuses: terms that do not fit each other.
May import: stdlib, pydantic, core, runs.model, triggers.callbacks, triggers.verification.
"""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from core.errors import Invalid
from runs.model import Priority
from triggers.callbacks import MAX_NAME_CHARS, SecretShown
from triggers.verification.delivery import TOLERANCE_S
from triggers.verification.plain_hmac import PlainHmac
from triggers.verification.schemes import Scheme

_SOURCE = re.compile(r"header:[A-Za-z0-9-]{1,64}|field:[A-Za-z0-9_.-]{1,64}|body")


class HookTerms(BaseModel):
    """What a hook does. All of it can be changed but the scheme."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS, description="Shown in lists.")
    script_ref: str = Field(
        max_length=200,
        description="The saved script that its events start: `name`, `name@3` or `name@alias`.",
    )
    scheme: Scheme = Field(description="How its sender signs.")
    form: PlainHmac | None = Field(
        default=None, description="With `hmac`: how the header is written."
    )
    event_id: str | None = Field(
        default=None,
        description="Where the id of an event is, in place of the scheme's own: `header:<name>`, "
        "`field:<name>` of a JSON body, or `body`: the same bytes are the same event.",
    )
    input: Literal["event", "body"] = Field(
        default="event",
        description="What the script gets: the event with its id and type and the body as `data`, "
        "or the body alone.",
    )
    tolerance_s: int = Field(
        default=TOLERANCE_S,
        ge=10,
        le=3_600,
        description="Seconds that a signed time may be away from ours, where one is signed.",
    )
    priority: Priority = Field(default=Priority.NORMAL, description="Of the runs it starts.")
    callback: str | None = Field(
        default=None, max_length=2_200, description="Who is told when they end."
    )
    enabled: bool = Field(default=True, description="Whether events start anything.")

    def checked(self) -> Self:
        """
        Give the terms back if they fit each other.

        Raises:
            Invalid: they do not.
        """
        if not self.name.isprintable():
            raise Invalid("it must be printable characters", pointer="/name")
        if self.form is not None and self.scheme is not Scheme.HMAC:
            raise Invalid("only the scheme `hmac` has a form", pointer="/form")
        if self.event_id is not None and _SOURCE.fullmatch(self.event_id) is None:
            detail = "it must be header:<name>, field:<name> or body"
            raise Invalid(detail, pointer="/event_id")
        return self


class Hook(HookTerms):
    """
    One hook. Times are Unix milliseconds.

    `path` is where its sender sends to, `key_id` the key with which its runs start.
    `started`, `repeated` and `refused` count events: those that started a run, those that were
    known already, those that were not signed by its sender or could start nothing. `last_refusal`
    says why the last of these was refused.
    """

    id: str
    path: str
    created_ms: int
    key_id: str
    secrets: list[SecretShown]
    started: int = 0
    repeated: int = 0
    refused: int = 0
    last_event_ms: int | None = None
    last_refusal: str | None = None
    last_refusal_ms: int | None = None
