"""`moonsand hooks`: senders that may start saved scripts. No secret is an option."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moonsand import connection
from moonsand.commands.keys import redis_url
from moonsand.commands.scripts import all_of, ask
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_error, write_output
from runs.model import Priority

if TYPE_CHECKING:
    from triggers.hooks import Hook

app = typer.Typer(no_args_is_help=True, help="Let webhooks start saved scripts.")

_MAX_SECRET_BYTES = 4_096
HookId = Annotated[str, typer.Argument(metavar="HOOK", help="Id of a hook, `hok_...`.")]
SecretId = Annotated[str, typer.Argument(metavar="SECRET", help="Id of a secret, `s...`.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
SecretEnv = Annotated[
    str | None, typer.Option(help="Environment variable that holds the secret to check with.")
]
SecretFile = Annotated[
    Path | None, typer.Option(help="File that holds it; `-` reads it from stdin.")
]
EventId = Annotated[
    str | None,
    typer.Option(
        help="Where the id of an event is, in place of the scheme's own: `header:<name>`, "
        "`field:<name>` or `body`."
    ),
]
InputKind = Annotated[
    Literal["event", "body"] | None,
    typer.Option(help="What the script gets: the event around the body, or the body alone."),
]
ItsPriority = Annotated[
    Priority | None, typer.Option(help="Before or after other queued runs of the tenant.")
]
Told = Annotated[
    str | None, typer.Option(help="Who is told when its runs end: an endpoint's id, or an address.")
]
ToleranceS = Annotated[
    int | None,
    typer.Option(min=10, max=3600, help="Seconds a signed time may be away from ours."),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for people.")],
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="Saved script: `name`, `name@3`, `name@alias`.")
    ],
    scheme: Annotated[
        Literal["mux", "standard-webhooks", "github", "stripe", "slack", "hmac"],
        typer.Option(help="How its sender signs."),
    ],
    secret_env: SecretEnv = None,
    secret_file: SecretFile = None,
    header: Annotated[
        str | None, typer.Option(help="With hmac: name of the header (default X-Signature).")
    ] = None,
    algorithm: Annotated[
        Literal["sha256", "sha384", "sha512", "sha1"] | None,
        typer.Option(help="With hmac: its hash (default sha256)."),
    ] = None,
    encoding: Annotated[
        Literal["hex", "base64"] | None,
        typer.Option(help="With hmac: how the digest is written (default hex)."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="With hmac: what stands before the digest, as `sha256=`.")
    ] = None,
    event_id: EventId = None,
    input: InputKind = None,
    priority: ItsPriority = None,
    callback: Told = None,
    tolerance_s: ToleranceS = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Make a hook; its runs start with this API key. A secret made for it is shown this once."""
    from moonsand.hook_asks import create_hook

    form = _named(header=header, algorithm=algorithm, encoding=encoding, prefix=prefix)
    terms = {"name": name, "script_ref": ref, "scheme": scheme} | _named(
        secret=_secret(secret_env, secret_file),
        form=form or None,
        event_id=event_id,
        input=input,
        priority=priority,
        callback=callback,
        tolerance_s=tolerance_s,
    )
    hook, secret = ask(url, key, create_hook(terms))
    _show_made(hook, secret, as_json=as_json)
    if not hook.secrets:
        write_error(
            f"it has no secret yet: enter {hook.path} at the sender, then give the sender's "
            "with `moonsand hooks add-secret`"
        )
    return Exit.SUCCEEDED


@app.command("list")
def list_hooks(
    as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """List hooks, newest first: state, scheme, script, counts of events, name."""
    from moonsand import hook_asks

    for one in all_of(url, key, hook_asks.list_hooks):
        write_output(f"{_json(one) if as_json else _row(one)}\n")
    return Exit.SUCCEEDED


@app.command()
def show(
    hook: HookId, as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Show one hook, and why its last refused event was refused."""
    from moonsand import hook_asks

    _show(ask(url, key, hook_asks.get_hook(hook)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def change(
    hook: HookId,
    name: Annotated[str | None, typer.Option(help="Another name for people.")] = None,
    ref: Annotated[str | None, typer.Option(help="Another saved script or version.")] = None,
    event_id: EventId = None,
    input: InputKind = None,
    priority: ItsPriority = None,
    callback: Told = None,
    tolerance_s: ToleranceS = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Change what is named, from the next event on; its runs start with this API key then."""
    changes = _named(
        name=name,
        script_ref=ref,
        event_id=event_id,
        input=input,
        priority=priority,
        callback=callback,
        tolerance_s=tolerance_s,
    )
    if not changes:
        raise UsageFault("nothing to change was given; see --help")
    return _change(hook, changes, url, key, as_json=as_json)


@app.command()
def enable(
    hook: HookId, as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Let events start runs again."""
    return _change(hook, {"enabled": True}, url, key, as_json=as_json)


@app.command()
def disable(
    hook: HookId, as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """Refuse every event with 409; most senders try again for hours."""
    return _change(hook, {"enabled": False}, url, key, as_json=as_json)


@app.command("add-secret")
def add_secret(
    hook: HookId,
    secret_env: SecretEnv = None,
    secret_file: SecretFile = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Let a further secret count; where the sender makes none, one is made and shown this once."""
    from moonsand.hook_asks import add_hook_secret

    given = _secret(secret_env, secret_file)
    found, secret = ask(url, key, add_hook_secret(hook, given))
    _show_made(found, secret, as_json=as_json)
    return Exit.SUCCEEDED


@app.command("remove-secret")
def remove_secret(
    hook: HookId,
    secret: SecretId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Let a secret count no more; `show` lists their ids."""
    from moonsand.hook_asks import remove_hook_secret

    _show(ask(url, key, remove_hook_secret(hook, secret)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def delete(hook: HookId, url: connection.Url = None, key: connection.Key = None) -> int:
    """Delete a hook; runs that it started go on."""
    from moonsand.hook_asks import delete_hook

    ask(url, key, delete_hook(hook))
    write_output(f"{safe(hook)} is deleted\n")
    return Exit.SUCCEEDED


@app.command("keygen")
def trigger_key(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id of the new key, as `2027-01`.")],
) -> int:
    """Print a new trigger key, a line for the file of MOONSAND_TRIGGER_KEYS_FILE."""
    from tenancy.master_keys import new_line

    write_output(f"{new_line(name)}\n")
    return Exit.SUCCEEDED


@app.command("reseal")
def reseal() -> int:
    """Seal all secrets with the first trigger key, straight in Redis; others may go afterwards."""
    changed, seen = asyncio.run(_reseal())
    write_output(f"{changed} of {seen} hooks, callbacks and connections sealed anew\n")
    return Exit.SUCCEEDED


async def _reseal() -> tuple[int, int]:
    from core.redis_client import connect_async
    from core.settings import load_settings
    from triggers import resealing
    from triggers.trigger_keys import TriggerKeys

    keys = TriggerKeys.of_settings(load_settings())
    if keys is None:
        raise UsageFault("no trigger key is given; set MOONSAND_TRIGGER_KEYS_FILE")
    async with connect_async(redis_url()) as redis:
        return await resealing.reseal(redis, keys)


def _change(
    hook: str, changes: dict[str, Any], url: str | None, key: str | None, *, as_json: bool
) -> int:
    from moonsand.hook_asks import change_hook

    _show(ask(url, key, change_hook(hook, changes)), as_json=as_json)
    return Exit.SUCCEEDED


def _named(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _secret(env: str | None, file: Path | None) -> str | None:
    if env is not None and file is not None:
        raise UsageFault("give --secret-env or --secret-file, not both")
    if env is not None:
        if env not in os.environ:
            raise UsageFault("--secret-env names a variable that is not set")
        return os.environ[env].strip()
    if file is None:
        return None
    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(_MAX_SECRET_BYTES)
        else:
            with file.open("rb") as opened:
                raw = opened.read(_MAX_SECRET_BYTES)
        return raw.decode().strip()
    except OSError as error:
        raise UsageFault(f"--secret-file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageFault("--secret-file is not UTF-8") from None


def _show_made(hook: Hook, secret: str | None, *, as_json: bool) -> None:
    if as_json:
        made = hook.model_dump(mode="json", exclude_none=True)
        write_output(f"{_dumped(made if secret is None else made | {'secret': secret})}\n")
        return
    _show(hook, as_json=False)
    if secret is not None:
        write_output(f"secret     {secret}\n")
        write_error("the secret is shown this once: give it to the sender")


def _show(hook: Hook, *, as_json: bool) -> None:
    if as_json:
        write_output(f"{_json(hook)}\n")
        return
    secrets = ", ".join(f"{one.id} ({_when(one.created_ms)})" for one in hook.secrets)
    lines = {
        "id": hook.id,
        "path": hook.path,
        "name": hook.name,
        "script": hook.script_ref,
        "scheme": hook.scheme.value,
        "state": "on" if hook.enabled else "off",
        "secrets": secrets or "none",
        "events": f"{hook.started} started, {hook.repeated} repeated, {hook.refused} refused",
        "callback": hook.callback,
        "refused": hook.last_refusal
        and f"{hook.last_refusal} ({_when(hook.last_refusal_ms or 0)})",
    }
    for name, value in lines.items():
        if value:
            write_output(f"{name:<9}  {safe(value)}\n")


def _row(hook: Hook) -> str:
    counts = f"{hook.started}/{hook.repeated}/{hook.refused}"
    state = "on " if hook.enabled else "off"
    return (
        f"{hook.id}  {state}  {hook.scheme.value:<17}  {safe(hook.script_ref):<24}  "
        f"{counts:>9}  {safe(hook.name)}"
    ).rstrip()


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _json(hook: Hook) -> str:
    return hook.model_dump_json(exclude_none=True)


def _dumped(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
