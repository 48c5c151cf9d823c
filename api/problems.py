"""
Problems: every error answer is RFC 9457 `application/problem+json`, from one closed table.

`type` is the address of a page that says what the problem means, `code` its last part, and
`errors` lists each wrong field with its JSON pointer. Texts never hold a secret, a host path
or anything of another tenant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from api.rate_limits import refusal_headers
from core.errors import InFlight, Invalid, QuotaExceeded, Refused, ServiceError, Unavailable
from core.redis_client import takes_no_writes
from triggers.input_schema import InputMismatch

MEDIA_TYPE = "application/problem+json"


class Known(NamedTuple):
    """One row of the table: HTTP status, title, and what to do about it."""

    status: int
    title: str
    meaning: str


KNOWN: dict[str, Known] = {
    "invalid_json": Known(
        400,
        "The body is not JSON",
        "The body must be one JSON document in UTF-8 without a byte order mark, NaN, Infinity, "
        "lone surrogates or a name twice in one object. `detail` says where reading stopped.",
    ),
    "refused": Known(400, "The request was refused", "`detail` says why; correct the request."),
    "signature_refused": Known(
        401,
        "The signature does not hold",
        "A webhook must be signed with the secret that is kept here, over the exact bytes of its "
        "body, and not long ago. `detail` says which part is wrong.",
    ),
    "unauthenticated": Known(
        401,
        "A valid API key is needed",
        "Send `Authorization: Bearer ms_live_...`. Make a key with `moonsand keys create`.",
    ),
    "forbidden": Known(403, "This API key may not do this", "`detail` names the missing scope."),
    "not_found": Known(
        404,
        "No such thing",
        "No route, run or account of this name. Those of other tenants and those that are no "
        "longer kept answer the same.",
    ),
    "method_not_allowed": Known(
        405, "No such method here", "The `Allow` header lists the methods of this route."
    ),
    "request_timeout": Known(
        408, "The body came too slowly", "Send the whole body within 30 seconds."
    ),
    "in_flight": Known(
        409,
        "The same request is being answered",
        "Another request with this `Idempotency-Key` came first and has no answer yet. Wait as "
        "many seconds as `Retry-After` says and send it again: you get the answer of the first.",
    ),
    "conflict": Known(409, "The state does not allow this", "`detail` says which state it is in."),
    "too_large": Known(
        413, "Too many bytes", "`detail` says how many bytes came and how many are allowed."
    ),
    "unsupported_media_type": Known(
        415, "The body must be JSON", "Send `Content-Type: application/json`, uncompressed."
    ),
    "idempotency_key_reused": Known(
        422,
        "The key was used for another request",
        "An `Idempotency-Key` stands for one request, to the byte, for 24 hours. Send a new key "
        "with a new request.",
    ),
    "invalid": Known(
        422,
        "A value is invalid",
        "`errors` lists each wrong value: a JSON `pointer` into the body, or the name of a query "
        "`parameter` or `header`; what was expected; and the nearest known name.",
    ),
    "quota_exceeded": Known(
        429,
        "The allowance is used up",
        "`quota` names what is used up, if it has a name, with what is `used` and `allowed`, and "
        "`whose` it is: the tenant's or the key's. Wait as many seconds as `Retry-After` says.",
    ),
    "internal": Known(
        500,
        "Our fault",
        "An error of ours. Report the `request_id`; whether a run was accepted is shown by the "
        "list of runs.",
    ),
    "unavailable": Known(
        503,
        "Something we need is away",
        "Wait as many seconds as `Retry-After` says and send the request again.",
    ),
}
_BY_STATUS = {known.status: code for code, known in KNOWN.items() if code != "invalid_json"}
_RETRY_S = 1
#: Wrong values told in one answer; there may be any number of them.
MAX_ERRORS = 20


class FieldError(BaseModel):
    """One wrong value: where it is, what was expected, and the nearest known name if any."""

    pointer: str | None = Field(default=None, description="JSON pointer into the body (RFC 6901).")
    parameter: str | None = Field(default=None, description="Name of the query parameter.")
    header: str | None = Field(default=None, description="Name of the request header.")
    detail: str
    nearest: str | None = Field(default=None, description="The known name nearest to the given.")
    line: int | None = Field(default=None, description="Line of the script, from 1.")
    column: int | None = Field(default=None, description="Character of that line, from 1.")
    code: str | None = Field(default=None, description="Of what a check of the script found.")
    hint: str | None = Field(default=None, description="What to do about it.")


class Problem(BaseModel):
    """The body of every error answer (RFC 9457)."""

    type: str = Field(description="Address of the page about this problem, `/problems/<code>`.")
    title: str
    status: int
    code: str = Field(json_schema_extra={"enum": list(KNOWN)})
    detail: str
    hint: str | None = Field(default=None, description="What to do next.")
    request_id: str = Field(description="Equal to the `X-Request-Id` header.")
    quota: str | None = Field(default=None, description="Name of the quota that is used up.")
    whose: str | None = Field(default=None, description="`tenant` or `key`: who has that quota.")
    used: int | None = Field(default=None, description="What is used of it, in its own unit.")
    allowed: int | None = Field(default=None, description="What it allows.")
    errors: list[FieldError] | None = None


class InvalidFields(Invalid):
    """Several wrong values of one request."""

    def __init__(self, errors: Sequence[FieldError], *, hint: str | None = None) -> None:
        first = errors[0]
        where = first.pointer or first.parameter or first.header
        if first.line is not None:
            where = f"{where} line {first.line}"
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{where}: {first.detail}{more}", pointer=first.pointer, hint=hint)
        self.errors = list(errors)


class InvalidJson(Refused):
    """The body is not strict JSON."""

    status = 400
    code = "invalid_json"


class UnsupportedMediaType(Refused):
    """The body is of another type than JSON."""

    status = 415
    code = "unsupported_media_type"


class RequestTimeout(Refused):
    """The client did not send its body in time."""

    status = 408
    code = "request_timeout"


def make_problem(request_id: str, code: str, detail: str) -> Problem:
    """Fill in one row of the table."""
    known = KNOWN[code]
    return Problem(
        type=f"/problems/{code}",
        title=known.title,
        status=known.status,
        code=code,
        detail=detail,
        request_id=request_id,
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Make the answer that says `problem`."""
    body = orjson.dumps(problem.model_dump(exclude_none=True))
    return Response(body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RedisError, _on_redis_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


def internal_problem(request_id: str) -> Response:
    """Make the answer to an error of ours, which tells nothing of its cause."""
    detail = "an error of ours; its cause is in our log under this request id"
    return problem_response(make_problem(request_id, "internal", detail))


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 (registered for this type only)
    request_id = request.state.request_id
    if error.code not in KNOWN or error.code == "internal":
        structlog.get_logger(__name__).error("broken", exc_info=error)
        return internal_problem(request_id)
    problem = make_problem(request_id, error.code, error.detail)
    problem.hint = error.hint
    problem.errors = _field_errors(error) or None
    if isinstance(error, QuotaExceeded):
        problem.quota, problem.whose = error.quota, error.whose
        problem.used, problem.allowed = error.used, error.allowed
    return problem_response(problem, _headers(error))


def _field_errors(error: ServiceError) -> list[FieldError]:
    if isinstance(error, InvalidFields):
        return error.errors
    if isinstance(error, InputMismatch):
        return [FieldError(pointer=pointer, detail=detail) for pointer, detail in error.errors]
    if isinstance(error, Invalid) and error.pointer is not None:
        return [FieldError(pointer=error.pointer, detail=error.detail)]
    return []


def _headers(error: ServiceError) -> dict[str, str]:
    if error.code == "unauthenticated":
        return {"WWW-Authenticate": 'Bearer realm="moonsand"'}
    if isinstance(error, RequestTimeout):
        return {"Connection": "close"}  # the rest of that body must not be read as a request
    if isinstance(error, QuotaExceeded):
        return refusal_headers(error)
    if isinstance(error, InFlight):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, Unavailable):
        return {"Retry-After": str(_RETRY_S)}
    return {}


async def _on_redis_error(request: Request, error: Exception) -> Response:
    structlog.get_logger(__name__).warning("redis_away", error=type(error).__name__)
    detail = "the store cannot be reached"
    if takes_no_writes(error):
        detail = "the store takes no writes at the moment"
    problem = make_problem(request.state.request_id, "unavailable", detail)
    return problem_response(problem, {"Retry-After": str(_RETRY_S)})


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for this type only)
    wrong = InvalidFields([_query_error(one) for one in error.errors()])
    return await _on_service_error(request, wrong)


def _query_error(one: Mapping[str, Any]) -> FieldError:
    place, name = str(one["loc"][0]), str(one["loc"][-1])
    detail = str(one["msg"])
    return FieldError(
        parameter=name if place != "header" else None,
        header=name if place == "header" else None,
        detail=detail[:1].lower() + detail[1:],
    )


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for this type only)
    details = {
        404: "there is no such route",
        405: f"{request.method[:16]} is not a method of this route",
    }
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        code = "refused" if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else "internal"
    detail = details.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _methods_of(request) or headers.get("Allow", "")
    return problem_response(make_problem(request.state.request_id, code, detail), headers)


def _methods_of(request: Request) -> str:
    # The router names the methods of the first route with this path only.
    return ", ".join(
        method.upper()
        for path, methods in request.app.openapi()["paths"].items()
        if compile_path(path)[0].fullmatch(request.url.path)
        for method in methods
    )
