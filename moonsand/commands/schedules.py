"""`moonsand schedules`: saved scripts started by cron, every so often, or once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moonsand import connection
from moonsand import script_options as options
from moonsand.commands.scripts import all_of, ask
from moonsand.durations import seconds_of
from moonsand.exits import Exit, UsageFault
from moonsand.terminal import safe, write_output
from runs.model import Priority

if TYPE_CHECKING:
    from triggers.schedules import Fire, Schedule

app = typer.Typer(no_args_is_help=True, help="Start saved scripts at their time.")

ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Id of a schedule, `sch_...`.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Cron = Annotated[
    str | None,
    typer.Option(help="`minute hour day month weekday`, with seconds in front if there are six."),
]
TimeZone = Annotated[
    str | None, typer.Option("--tz", help="Time zone of --cron and --at (default UTC).")
]
Every = Annotated[
    str | None, typer.Option(help="Time between two fires: `10s`, `15m`, `12h`, `1d`.")
]
At = Annotated[str | None, typer.Option(help="Once: `2027-01-31T09:00`, or with an offset.")]
Overlap = Annotated[
    Literal["skip", "queue", "cancel_previous"] | None,
    typer.Option(
        help="While the run before has not ended: no run, it waits, or that is cancelled."
    ),
]
Missed = Annotated[
    Literal["skip", "once", "all"] | None,
    typer.Option(help="Of fires more than 10 s late: none is made up for, one, or each."),
]
MissedMax = Annotated[
    int | None, typer.Option(min=1, max=1000, help="With --missed all: the newest so many.")
]
JitterS = Annotated[
    int | None, typer.Option(min=0, max=3600, help="Each fire comes up to so many seconds late.")
]
ItsPriority = Annotated[
    Priority | None, typer.Option(help="Before or after other queued runs of the tenant.")
]
Told = Annotated[
    str | None,
    typer.Option(help="Who is told when its runs end: a callback endpoint's id, or an address."),
]
Title = Annotated[str | None, typer.Option(help="Name for people.")]


@app.command()
def create(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF",
            help="`name@version` for ever that text; `name@alias` or `name` at each fire what they "
            "mean then.",
        ),
    ],
    cron: Cron = None,
    tz: TimeZone = None,
    every: Every = None,
    at: At = None,
    input: options.Input = None,
    name: Title = None,
    overlap: Overlap = None,
    missed: Missed = None,
    missed_max: MissedMax = None,
    jitter_s: JitterS = None,
    priority: ItsPriority = None,
    callback: Told = None,
    grant: options.Grant = None,
    grants: options.GrantsFile = None,
    instructions: options.Instructions = None,
    memory_mb: options.MemoryMb = None,
    cpu_ms: options.CpuMs = None,
    wall_s: options.WallS = None,
    output_kb: options.OutputKb = None,
    calls: options.Calls = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Make a schedule; its runs have what this API key may call at the time."""
    from moonsand.trigger_asks import create_schedule
    from triggers.schedules import ScheduleDraft

    if len([one for one in (cron, every, at) if one is not None]) != 1:
        raise UsageFault("give one of --cron, --every and --at")
    limits = options.LimitOptions(instructions, memory_mb, cpu_ms, wall_s, output_kb, calls)
    said = _said(
        name, cron, tz, every, at, overlap, missed, missed_max, jitter_s, priority, callback
    )
    draft = ScheduleDraft(
        script_ref=ref,
        input=options.read_input(input),
        limits=limits.to_limits(),
        grants=options.GrantOptions(grant, grants).rules(),
        **said,
    )
    _show(ask(url, key, create_schedule(draft)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def change(
    schedule: ScheduleId,
    ref: Annotated[str | None, typer.Option(help="Another saved script or version.")] = None,
    cron: Cron = None,
    tz: TimeZone = None,
    every: Every = None,
    at: At = None,
    input: options.Input = None,
    name: Title = None,
    overlap: Overlap = None,
    missed: Missed = None,
    missed_max: MissedMax = None,
    jitter_s: JitterS = None,
    priority: ItsPriority = None,
    callback: Told = None,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Change what is named; its runs have what this API key may call from now on."""
    said = _said(
        name, cron, tz, every, at, overlap, missed, missed_max, jitter_s, priority, callback
    )
    if ref is not None:
        said["script_ref"] = ref
    if input is not None:
        said["input"] = options.read_input(input)
    if not said:
        raise UsageFault("nothing to change was given; see --help")
    return _change(schedule, said, url, key, as_json=as_json)


@app.command()
def pause(
    schedule: ScheduleId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Fire no more until `resume`."""
    return _change(schedule, {"state": "paused"}, url, key, as_json=as_json)


@app.command()
def resume(
    schedule: ScheduleId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Go on with the next fire from now; its runs have what this API key may call."""
    return _change(schedule, {"state": "active"}, url, key, as_json=as_json)


@app.command("list")
def list_schedules(
    as_json: AsJson = False, url: connection.Url = None, key: connection.Key = None
) -> int:
    """List schedules, newest first: state, next fire, when, what."""
    from moonsand import trigger_asks

    for one in all_of(url, key, trigger_asks.list_schedules):
        write_output(f"{one.model_dump_json() if as_json else _row(one)}\n")
    return Exit.SUCCEEDED


@app.command()
def show(
    schedule: ScheduleId,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show one schedule."""
    from moonsand import trigger_asks

    _show(ask(url, key, trigger_asks.get_schedule(schedule)), as_json=as_json)
    return Exit.SUCCEEDED


@app.command()
def fires(
    schedule: ScheduleId,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    as_json: AsJson = False,
    url: connection.Url = None,
    key: connection.Key = None,
) -> int:
    """Show what came of the last fires, newest first."""
    from moonsand import trigger_asks

    for one in ask(url, key, trigger_asks.list_fires(schedule, limit)):
        line = one.model_dump_json(exclude_none=True) if as_json else _fire_row(one)
        write_output(f"{line}\n")
    return Exit.SUCCEEDED


@app.command()
def delete(schedule: ScheduleId, url: connection.Url = None, key: connection.Key = None) -> int:
    """Delete a schedule; runs that it started go on."""
    from moonsand import trigger_asks

    ask(url, key, trigger_asks.delete_schedule(schedule))
    write_output(f"{safe(schedule)} is deleted\n")
    return Exit.SUCCEEDED


def _change(
    schedule: str, said: dict[str, Any], url: str | None, key: str | None, *, as_json: bool
) -> int:
    from moonsand.trigger_asks import change_schedule
    from triggers.schedules import ScheduleChange

    changed = ask(url, key, change_schedule(schedule, ScheduleChange(**said)))
    _show(changed, as_json=as_json)
    return Exit.SUCCEEDED


def _said(
    name: str | None,
    cron: str | None,
    tz: str | None,
    every: str | None,
    at: str | None,
    overlap: str | None,
    missed: str | None,
    missed_max: int | None,
    jitter_s: int | None,
    priority: Priority | None,
    callback: str | None,
) -> dict[str, Any]:
    given = {
        "name": name,
        "cron": cron,
        "time_zone": tz,
        "every_s": None if every is None else seconds_of(every, "--every"),
        "at": at,
        "overlap": overlap,
        "missed": missed,
        "missed_max": missed_max,
        "jitter_s": jitter_s,
        "priority": None if priority is None else priority.value,
        "callback": callback,
    }
    return {name: value for name, value in given.items() if value is not None}


def _show(one: Schedule, *, as_json: bool) -> None:
    if as_json:
        write_output(f"{one.model_dump_json()}\n")
        return
    rows = {
        "id": one.id,
        "name": one.name,
        "state": one.state.value,
        "reason": one.reason or "",
        "script": one.script_ref,
        "when": _when(one),
        "next fire": _time(one.next_fire_ms),
        "last fire": _time(one.last_fire_ms),
        "last run": one.last_run or "",
        "fires": ", ".join(f"{count} {how}" for how, count in one.counts if count),
        "waiting": str(one.waiting or ""),
        "overlap": one.overlap,
        "missed": f"all, the newest {one.missed_max}" if one.missed == "all" else one.missed,
        "input": "" if one.input is None else json.dumps(one.input, ensure_ascii=False),
        "key": one.key_id,
    }
    for name, value in rows.items():
        if value:
            write_output(f"{name:<10} {safe(value)}\n")


def _row(one: Schedule) -> str:
    parts = (one.id, f"{one.state:<9}", f"{_time(one.next_fire_ms):<20}", _when(one))
    return safe("  ".join((*parts, one.script_ref, one.name))).rstrip()


def _when(one: Schedule) -> str:
    if one.cron is not None:
        return f"{one.cron} {one.time_zone}"
    return f"every {one.every_s} s" if one.every_s is not None else f"once at {one.at}"


def _fire_row(one: Fire) -> str:
    many = "" if one.count is None else f"  {one.count} until {_time(one.until_ms)}"
    more = one.run or one.reason or ""
    return f"{_time(one.fire_ms):<20}  {one.outcome:<8}  {safe(more)}{many}".rstrip()


def _time(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
