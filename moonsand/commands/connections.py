"""`moonsand connections`: connections to Mux, over HTTP. No secret is an option."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moonsand import connection
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_output

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moonsand.client import AsyncClient

app = typer.Typer(no_args_is_help=True, help="Connect Mux, for syncs and webhooks.")

Named = Annotated[str, typer.Argument(metavar="CONNECTION", help="Id or name of a connection.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Account = Annotated[
    str | None, typer.Option(help="Use this account of Mux, which is there already.")
]
TokenId = Annotated[
    str | None, typer.Option(metavar="VARIABLE", help="Environment variable with the token's id.")
]
TokenSecret = Annotated[
    str | None,
    typer.Option(metavar="VARIABLE", help="Environment variable with the token's secret."),
]
WebhookSecret = Annotated[
    str | None,
    typer.Option(metavar="VARIABLE", help="Environment variable with the webhook's secret."),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the connection.")],
    account: Account = None,
    token_id: TokenId = None,
    token_secret: TokenSecret = None,
    webhook_secret: WebhookSecret = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    test: Annotated[bool, typer.Option(help="Keep it only if Mux answers.")] = True,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Connect Mux; print the connection's id and where Mux has to send its events."""
    credentials = _credentials(account, token_id, token_secret, webhook_secret)
    fields = {
        "name": name,
        "provider_type": "mux",
        "provider_config": {"credentials": credentials},
        "test_before_save": test,
    }
    if description is not None:
        fields["description"] = description
    made = ask(url, key, lambda client: client.organizations.connections.create(**fields))
    _show(made, as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def change(
    named: Named,
    account: Account = None,
    token_id: TokenId = None,
    token_secret: TokenSecret = None,
    webhook_secret: WebhookSecret = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Change a connection; credentials are replaced whole, the webhook's secret with them."""
    fields: dict[str, Any] = {}
    if any((account, token_id, token_secret, webhook_secret)):
        given = _credentials(account, token_id, token_secret, webhook_secret)
        fields["provider_config"] = {"credentials": given}
    fields |= {
        word: value
        for word, value in (("name", name), ("description", description))
        if value is not None
    }
    if not fields:
        raise UsageFault("nothing to change was given; see --help")
    made = ask(url, key, lambda client: client.organizations.connections.update(named, **fields))
    _show(made, as_json=as_json)
    return Exit.SUCCEEDED


@app.command("list")
def list_connections(
    as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """List all connections, newest first."""
    for one in all_of(url, key, lambda client: client.organizations.connections.list):
        _show(one, as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def show(named: Named, url: connection.Url = None, key: connection.Key = None) -> int:
    """Show one connection as JSON."""
    found = ask(url, key, lambda client: client.organizations.connections.get(named))
    write_output(f"{json.dumps(found)}\n")
    return Exit.SUCCEEDED


@app.command("test")
def try_it(named: Named, url: connection.Url = None, key: connection.Key = None) -> int:
    """Make one reading call at Mux; exit code 1 when it failed."""
    found = ask(url, key, lambda client: client.organizations.connections.test(named))
    write_output(f"{'ok' if found['success'] else safe(found['message'])}\n")
    return Exit.SUCCEEDED if found["success"] else Exit.FAILED


@app.command()
def delete(named: Named, url: connection.Url = None, key: connection.Key = None) -> int:
    """Delete a connection that no sync uses, and the account that was made with it."""
    ask(url, key, lambda client: client.organizations.connections.delete(named))
    write_output(f"{safe(named)} deleted\n")
    return Exit.SUCCEEDED


def ask(url: str | None, key: str | None, question: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
    """Ask one thing of the API."""

    async def asked() -> Any:
        async with connection.open_client(url, key) as client:
            return await question(client)

    return asyncio.run(asked())


def all_of(
    url: str | None, key: str | None, listing: Callable[[AsyncClient], Any]
) -> list[dict[str, Any]]:
    """Give all entries of a list, page by page."""

    async def asked() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with connection.open_client(url, key) as client:
            cursor = None
            while True:
                page = await listing(client)(cursor=cursor, limit=200)
                found += page["results"]
                cursor = page["pagination"]["next_cursor"]
                if cursor is None:
                    return found

    return asyncio.run(asked())


def _credentials(
    account: str | None, token_id: str | None, token_secret: str | None, webhook: str | None
) -> dict[str, Any]:
    if (account is None) == (token_id is None or token_secret is None):
        raise UsageFault("give --account, or --token-id and --token-secret")
    given: dict[str, Any] = {"type": "access_token" if account is None else "account"}
    if account is None:
        given["access_token_id"] = _variable(token_id or "")
        given["access_token_secret"] = _variable(token_secret or "")
    else:
        given["account"] = account
    if webhook is not None:
        given["webhook_secret"] = _variable(webhook)
    return given


def _variable(name: str) -> str:
    found = os.environ.get(name)
    if not found:
        # The name is not repeated: somebody may have put the secret itself there.
        raise UsageFault("an option names an environment variable that is not set")
    return found


def _show(one: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_output(f"{json.dumps(one)}\n")
        return
    webhook = "webhook" if one["has_webhook_secret"] else "no webhook secret"
    words = [one["connection_id"], safe(one["name"]), one["status"], webhook, one["webhook_path"]]
    write_output("\t".join(words) + "\n")
