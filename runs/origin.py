"""What started a run, when it was not a plain submission."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict


class OriginKind(StrEnum):
    """What kind of thing started a run."""

    API = "api"
    BATCH = "batch"
    SCHEDULE = "schedule"
    HOOK = "hook"
    SYNC = "sync"


class Origin(BaseModel):
    """
    What started a run: a batch, schedule, hook or sync, by its id.

    `id` is one of ours, never text that a user chose: it stands in the ledger for ever.
    """

    model_config = ConfigDict(frozen=True)

    kind: OriginKind
    id: str

    @classmethod
    def of_fields(cls, kind: bytes | None, subject: bytes | None) -> Self | None:
        """Give the origin that a run's record names; None when it names none."""
        if kind is None or subject is None:
            return None
        return cls(kind=OriginKind(kind.decode()), id=subject.decode())

    def to_json(self) -> dict[str, str]:
        """Give it as the tape and the ledger have it."""
        return {"kind": self.kind.value, "id": self.id}
