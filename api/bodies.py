"""Reading a body into a model, so that an error says where and what, and never repeats a value."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api.problems import MAX_ERRORS, FieldError, InvalidFields
from api.strict_json import parse, pointer_to, read_body
from api.submission import nearest
from core.errors import Invalid, TooLarge

M = TypeVar("M", bound=BaseModel)
#: Bodies of administration are small.
MAX_BYTES = 64 * 1024


async def read_model(request: Request, model: type[M], *, max_bytes: int = MAX_BYTES) -> M:
    """
    Read the body of a request as `model`.

    Raises:
        Refused: as `read_body` and `parse`; it has more than `max_bytes`.
        InvalidFields: values that are wrong, each with its pointer and the nearest known name.
    """
    body = await read_body(request)
    if len(body) > max_bytes:
        raise TooLarge(f"the body has {len(body)} bytes; {max_bytes} are allowed")
    value = parse(body)
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object", pointer="")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:MAX_ERRORS]
        raise InvalidFields([_field_error(model, one) for one in found]) from None


def _field_error(model: type[BaseModel], one: ErrorDetails) -> FieldError:
    pointer = pointer_to(*one["loc"])[:200]
    if one["type"] == "extra_forbidden":
        known = list(model.model_fields)
        near = nearest(str(one["loc"][-1]), known)
        detail = f"there is no such name; known: {', '.join(known)}"
        return FieldError(pointer=pointer, detail=detail, nearest=near)
    if one["type"] == "missing":
        return FieldError(pointer=pointer, detail="it is missing")
    detail = one["msg"]
    return FieldError(pointer=pointer, detail=detail[:1].lower() + detail[1:])
