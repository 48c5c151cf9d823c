"""The route of quotas: what the tenant and the key that asks may use, and have used."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from api.auth import LimitsReader
from api.runs import only_known_parameters
from api.services import services_of
from runs.quotas import quotas_of
from runs.store import redis_errors

router = APIRouter(
    prefix="/v1/quotas", tags=["tenants"], dependencies=[Depends(only_known_parameters)]
)


class Quota(BaseModel):
    """One quota, at this moment."""

    quota: str = Field(description="Its name, as among the limits of tenants.")
    whose: str = Field(description="`tenant`, or `key`: of the key that asks alone.")
    allowed: int | None = Field(description="What may be used; null for no bound.")
    used: int = Field(description="What is used, in the same unit.")
    span_s: int | None = Field(
        description="Seconds in which it is counted, whenever they begin; null for what counts at "
        "one moment."
    )
    reset_s: int | None = Field(
        description="Seconds after which the first of what was counted is counted no more."
    )


class QuotaList(BaseModel):
    """Every quota that there is: those of the tenant, then those of the key."""

    data: list[Quota]


@router.get(
    "",
    operation_id="list_quotas",
    summary="Show what is used of quotas",
    responses={200: {"model": QuotaList, "description": "As they are at this moment"}},
)
async def list_quotas(request: Request, key: LimitsReader) -> Response:
    """Show what the tenant and the key that asks may use and have used; nothing is counted."""
    services = services_of(request)
    with redis_errors():
        found = await quotas_of(
            services.redis, key.tenant, key.id, queue_max=services.settings.queue_max
        )
    rows = [
        Quota(
            quota=one.quota,
            whose=one.whose,
            allowed=None if one.allowed < 0 else one.allowed,
            used=one.used,
            span_s=one.span_s or None,
            reset_s=one.reset_s or None,
        )
        for one in found
    ]
    body = orjson.dumps({"data": [row.model_dump() for row in rows]})
    return Response(body, media_type="application/json")
