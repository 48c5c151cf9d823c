"""`moonsand quotas`: what a tenant and its key may use, and have used, as the API tells it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from moonsand import connection
from moonsand.exits import Exit
from moonsand.terminal import safe, write_output

if TYPE_CHECKING:
    from moonsand.quota_asks import QuotaUse

_HEAD = ("quota", "whose", "used", "allowed", "span_s", "reset_s")


def quotas(
    tenant: Annotated[
        str | None, typer.Option(help="Of this tenant; for keys of the operator's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON quota a line.")] = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show what the tenant and the key that asks may use, and have used; nothing is counted."""
    rows = asyncio.run(_ask(tenant, url, key))
    if not as_json:
        write_output("  ".join(_HEAD) + "\n")
    for row in rows:
        write_output(f"{row.model_dump_json()}\n" if as_json else _line(row))
    return Exit.SUCCEEDED


async def _ask(tenant: str | None, url: str | None, key: str | None) -> list[QuotaUse]:
    from moonsand.quota_asks import quotas as ask
    from tenancy.tenants import check_tenant

    if tenant is not None:
        check_tenant(tenant)
    async with connection.open_client(url, key) as client:
        return await client.send(ask(tenant))


def _line(row: QuotaUse) -> str:
    cells = (row.quota, row.whose, row.used, row.allowed, row.span_s, row.reset_s)
    return "  ".join("-" if one is None else safe(str(one)) for one in cells) + "\n"
