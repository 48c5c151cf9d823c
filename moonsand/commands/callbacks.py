"""`moonsand callbacks`: who is told when runs end, and what became of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moonsand import connection
from moonsand.commands.scripts import all_of, ask
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output

if TYPE_CHECKING:
    from triggers.callbacks import Attempt, DeliveryRecord, Endpoint

app = typer.Typer(no_args_is_help=True, help="Tell others when runs end.")

CallbackId = Annotated[
    str, typer.Argument(metavar="CALLBACK", help="Id of an endpoint, `clb_...`.")
]
DeliveryId = Annotated[str, typer.Argument(metavar="DELIVERY", help="Id of a delivery, `dlv_...`.")]
SecretId = Annotated[str, typer.Argument(metavar="SECRET", help="Id of a secret, `s...`.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for people.")],
    address: Annotated[
        str | None,
        typer.Argument(
            metavar="ADDRESS",
            help="Where to send, `https://...`; without it, it signs for addresses that runs name.",
        ),
    ] = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Make an endpoint; its secret, with which each request is signed, is shown this once."""
    from moonsand.hook_asks import create_callback

    endpoint, secret = ask(url, key, create_callback(name, address))
    _show_made(endpoint, secret, as_json=as_json)
    return Exit.SUCCEEDED


@app.command("list")
def list_callbacks(
    as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """List endpoints, newest first: state, address, name."""
    from moonsand import hook_asks

    for one in all_of(url, key, hook_asks.list_callbacks):
        write_output(f"{_json(one) if as_json else _row(one)}\n")
    return Exit.SUCCEEDED


@app.command()
def show(
    callback: CallbackId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show one endpoint: whether it is on, and since when it fails."""
    from moonsand.hook_asks import get_callback

    _show(ask(url, key, get_callback(callback)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def change(
    callback: CallbackId,
    name: Annotated[str | None, typer.Option(help="Another name for people.")] = None,
    to: Annotated[str | None, typer.Option(help="Another address.")] = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Change what is named; it counts for what waits to be sent, too."""
    given = {"name": name, "url": to}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise UsageFault("nothing to change was given; see --help")
    return _change(callback, changes, url, key, as_json=as_json)


@app.command()
def enable(
    callback: CallbackId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Switch an endpoint on, as if it had never failed; `replay` sends what it missed."""
    return _change(callback, {"enabled": True}, url, key, as_json=as_json)


@app.command()
def disable(
    callback: CallbackId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Switch an endpoint off: what is due to it from now on is given up at once."""
    return _change(callback, {"enabled": False}, url, key, as_json=as_json)


@app.command("add-secret")
def add_secret(
    callback: CallbackId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Make a further secret, shown this once; each request is signed with all of them."""
    from moonsand.hook_asks import add_callback_secret

    endpoint, secret = ask(url, key, add_callback_secret(callback))
    _show_made(endpoint, secret, as_json=as_json)
    return Exit.SUCCEEDED


@app.command("remove-secret")
def remove_secret(
    callback: CallbackId,
    secret: SecretId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Sign no more with a secret; `show` lists their ids."""
    from moonsand.hook_asks import remove_callback_secret

    _show(ask(url, key, remove_callback_secret(callback, secret)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def delete(callback: CallbackId, url: connection.Url = None, key: connection.Key = None) -> int:
    """Delete an endpoint; what waits to be sent to it is given up."""
    from moonsand.hook_asks import delete_callback

    ask(url, key, delete_callback(callback))
    write_output(f"{safe(callback)} is deleted\n")
    return Exit.SUCCEEDED


@app.command()
def deliveries(
    callback: CallbackId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """List the newest deliveries of an endpoint: state, attempts, last answer, what ended."""
    from moonsand.hook_asks import list_deliveries

    for one in ask(url, key, list_deliveries(callback, limit)):
        write_output(f"{_json(one) if as_json else _delivery_row(one)}\n")
    return Exit.SUCCEEDED


@app.command()
def delivery(
    delivery: DeliveryId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show one delivery and its attempts."""
    from moonsand.hook_asks import get_delivery

    _show_delivery(ask(url, key, get_delivery(delivery)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def replay(
    delivery: DeliveryId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Send a delivery again at once, under the same id."""
    from moonsand.hook_asks import replay_delivery

    _show_delivery(ask(url, key, replay_delivery(delivery)), as_json=as_json)
    return Exit.SUCCEEDED


def _change(
    callback: str, changes: dict[str, Any], url: str | None, key: str | None, *, as_json: bool
) -> int:
    from moonsand.hook_asks import change_callback

    _show(ask(url, key, change_callback(callback, changes)), as_json=as_json)
    return Exit.SUCCEEDED


def _show_made(endpoint: Endpoint, secret: str | None, *, as_json: bool) -> None:
    if as_json:
        made = endpoint.model_dump(mode="json", exclude_none=True) | {"secret": secret}
        write_output(f"{json.dumps(made, ensure_ascii=False)}\n")
        return
    _show(endpoint, as_json=False)
    write_output(f"secret   {secret}\n")
    write_error("the secret is shown this once: give it to the receiver")


def _show(endpoint: Endpoint, *, as_json: bool) -> None:
    if as_json:
        write_output(f"{_json(endpoint)}\n")
        return
    off = f" ({endpoint.disabled_why}, {_when(endpoint.disabled_ms)})"
    lines = {
        "id": endpoint.id,
        "name": endpoint.name,
        "address": endpoint.url or "that of each run",
        "state": endpoint.state + (off if endpoint.disabled_why else ""),
        "failing": endpoint.failing_since_ms and f"since {_when(endpoint.failing_since_ms)}",
        "secrets": ", ".join(f"{one.id} ({_when(one.created_ms)})" for one in endpoint.secrets),
    }
    for name, value in lines.items():
        if value:
            write_output(f"{name:<7}  {safe(str(value))}\n")


def _show_delivery(one: DeliveryRecord, *, as_json: bool) -> None:
    if as_json:
        write_output(f"{_json(one)}\n")
        return
    write_output(f"{_delivery_row(one)}\n")
    for attempt in one.log:
        took = f"{attempt.took_ms} ms"
        write_output(f"  {_when(attempt.at_ms)}  {_heard(attempt):<16}  {took:>9}\n")
    if one.next_ms is not None:
        write_output(f"  next at {_when(one.next_ms)}\n")


def _row(endpoint: Endpoint) -> str:
    where = endpoint.url or "(addresses of runs)"
    return f"{endpoint.id}  {endpoint.state:<8}  {safe(where)}  {safe(endpoint.name)}"


def _delivery_row(one: DeliveryRecord) -> str:
    last = _heard(one.log[-1]) if one.log else "-"
    why = f"  {one.why}" if one.why else ""
    return f"{one.id}  {one.state:<9}  {one.attempts:>2}  {last:<15}  {safe(one.subject)}{why}"


def _heard(attempt: Attempt) -> str:
    return str(attempt.status) if attempt.status is not None else str(attempt.error)


def _when(at_ms: int | None) -> str:
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _json(value: Endpoint | DeliveryRecord) -> str:
    return value.model_dump_json(exclude_none=True)
