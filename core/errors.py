"""
The tree of errors that cross rooms.

```
ServiceError
├── Refused            the caller can fix it      4xx
│   ├── Invalid 422 · KeyReused 422 · Unauthenticated 401 · Forbidden 403 · NotFound 404
│   ├── Conflict 409 (InFlight)
│   └── TooLarge 413 · QuotaExceeded 429
├── Unavailable        try again                  503
└── Broken             our bug; alarm             500
```
A script's own fault is never raised: it is an `Outcome` with a reason.
"""

from __future__ import annotations


class ServiceError(Exception):
    """Base of all. `detail` is safe to show; `hint` says what to do next."""

    status = 500
    code = "error"

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint


class Refused(ServiceError):
    """The caller asked for something that cannot be given."""

    status = 400
    code = "refused"


class Invalid(Refused):
    """A value is malformed; `pointer` is its JSON pointer in the request body, if it has one."""

    status = 422
    code = "invalid"

    def __init__(self, detail: str, *, pointer: str | None = None, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.pointer = pointer


class Unauthenticated(Refused):
    """No key, or a key that is not ours."""

    status = 401
    code = "unauthenticated"


class Forbidden(Refused):
    """The key is ours and may not do this."""

    status = 403
    code = "forbidden"


class NotFound(Refused):
    """No such thing for this tenant; whether another tenant has one is not told."""

    status = 404
    code = "not_found"


class Conflict(Refused):
    """The thing is in a state that does not allow this."""

    status = 409
    code = "conflict"


class InFlight(Conflict):
    """The same request is being answered; `retry_after_s` says when to ask again."""

    code = "in_flight"

    def __init__(self, detail: str, *, retry_after_s: int, hint: str | None = None) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after_s = retry_after_s


class KeyReused(Refused):
    """An idempotency key came with another request than before."""

    status = 422
    code = "idempotency_key_reused"


class TooLarge(Refused):
    """More bytes than allowed."""

    status = 413
    code = "too_large"


class QuotaExceeded(Refused):
    """
    A tenant's allowance is used up; `retry_after_s` says when to ask again.

    `quota` names what is used up, if it has a name, `used` and `allowed` are in its own unit, and
    `whose` is `tenant` or `key`.
    """

    status = 429
    code = "quota_exceeded"

    def __init__(  # noqa: PLR0913 (what a client has to know, all named)
        self,
        detail: str,
        *,
        retry_after_s: int,
        hint: str | None = None,
        quota: str | None = None,
        whose: str | None = None,
        used: int | None = None,
        allowed: int | None = None,
    ) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after_s = retry_after_s
        self.quota, self.whose, self.used, self.allowed = quota, whose, used, allowed


class Unavailable(ServiceError):
    """Something we need is away; nothing was done. Try again."""

    status = 503
    code = "unavailable"


class Broken(ServiceError):
    """Our bug."""

    status = 500
    code = "internal"
