"""The options by which `moonsand run` and `moonsand submit` take a script and its limits."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from core.errors import Invalid
from core.plans import Mode
from moonsand.exits import UsageFault
from runs.model import RunRequest
from sandbox.limits import KIB, MIB, SPECS, LimitOutOfRange, check_limit

_RULES_BYTES = MIB
_UNNAMED = "script"


def _between(limit: str, unit: int = 1) -> tuple[int, int]:
    spec = SPECS[limit]
    return -(-spec.minimum // unit), spec.maximum // unit


def _limit_option(flag: str, limit: str, meaning: str, unit: int = 1) -> Any:
    low, high = _between(limit, unit)
    default = SPECS[limit].default // unit
    text = f"{meaning} (default {default:,})."
    return typer.Option(flag, min=low, max=high, help=text, rich_help_panel="Limits")


File = Annotated[
    Path | None,
    typer.Argument(help="Lua file; `-` or nothing reads the script from stdin."),
]
Code = Annotated[str | None, typer.Option("--eval", "-e", help="Lua code, instead of a file.")]
Input = Annotated[
    str | None,
    typer.Option(help="What the script sees as `input`: JSON, or @FILE with JSON."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
Grant = Annotated[
    list[str] | None,
    typer.Option(
        help="What may be called, as `mux:read`, `mux.list_assets` or `ask:mux:write`; repeatable."
    ),
]
GrantsFile = Annotated[
    Path | None,
    typer.Option("--grants", help="JSON file with a list of grants, which may have limits."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Do not ask where a grant by class (`ask:mux:write`) would.")
]
OnUnknown = Annotated[
    Literal["fail", "raise"],
    typer.Option(help="A call of which nobody knows whether it was done: end the run, or raise."),
]
Plan = Annotated[bool, typer.Option("--plan", help="Make no writes: list them. Reads are real.")]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=2**63 - 1, help="Seed of `math.random` (default: a random one)."),
]
Instructions = Annotated[
    int | None, _limit_option("--instructions", "instructions", "Lua instructions")
]
MemoryMb = Annotated[
    int | None, _limit_option("--memory-mb", "memory_bytes", "MiB of Lua memory", MIB)
]
CpuMs = Annotated[int | None, _limit_option("--cpu-ms", "cpu_ms", "ms of processor time")]
WallS = Annotated[
    float | None,
    typer.Option(
        min=SPECS["wall_ms"].minimum / 1000,
        max=SPECS["wall_ms"].maximum / 1000,
        help=f"Seconds from start to result (default {SPECS['wall_ms'].default // 1000}).",
    ),
]
OutputKb = Annotated[
    int | None, _limit_option("--output-kb", "output_bytes", "KiB of printed text", KIB)
]
Calls = Annotated[int | None, _limit_option("--calls", "calls", "Calls to integrations")]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a script and its input come from, as the command line says."""

    file: Path | None
    code: str | None
    input: str | None


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """The limits given on the command line, in its units."""

    instructions: int | None = None
    memory_mb: int | None = None
    cpu_ms: int | None = None
    wall_s: float | None = None
    output_kb: int | None = None
    calls: int | None = None

    def to_limits(self) -> dict[str, int]:
        """
        Give the limits by their names and units.

        Raises:
            UsageFault: one is out of range.
        """
        given = {
            "instructions": self.instructions,
            "memory_bytes": None if self.memory_mb is None else self.memory_mb * MIB,
            "cpu_ms": self.cpu_ms,
            "wall_ms": None if self.wall_s is None else round(self.wall_s * 1000),
            "output_bytes": None if self.output_kb is None else self.output_kb * KIB,
            "calls": self.calls,
        }
        limits = {name: value for name, value in given.items() if value is not None}
        try:
            for name, value in limits.items():
                check_limit(name, value)
        except LimitOutOfRange as error:
            raise UsageFault(str(error)) from None
        return limits


@dataclass(frozen=True, slots=True)
class GrantOptions:
    """What a script may call, as the command line says."""

    texts: list[str] | None = None
    file: Path | None = None
    force: bool = False

    def rules(self) -> list[Any] | None:
        """
        Give all rules; None when nothing was said.

        Raises:
            UsageFault: the file cannot be read, or is no JSON list.
        """
        if self.file is None:
            return list(self.texts) if self.texts else None
        return [*read_rules(self.file), *(self.texts or [])]


def read_rules(path: Path) -> list[Any]:
    """
    Read a file of grants.

    Raises:
        UsageFault: it cannot be read, is no JSON list, or one is no grant.
    """
    raw = _read_file(path, _RULES_BYTES)
    if len(raw) > _RULES_BYTES:
        raise UsageFault(f"{path} has more than {_RULES_BYTES} bytes")
    rules = read_json(raw, str(path))
    if not isinstance(rules, list):
        raise UsageFault(f"{path} is not a JSON list of grants")
    check_rules(rules, str(path))
    return rules


def check_rules(rules: list[Any], where: str) -> None:
    """
    Check how grants are written.

    Raises:
        UsageFault: one is none; the message says which, and what is wrong in it.
    """
    from tenancy.grants import GrantSet  # noqa: PLC0415 (heavy, and seldom needed)

    try:
        GrantSet.parse(rules, "")
    except Invalid as wrong:
        hint = f"; {wrong.hint}" if wrong.hint else ""
        raise UsageFault(f"{where} {wrong.pointer}: {wrong.detail}{hint}") from None


def build_request(  # noqa: PLR0913 (what a command line says, all named)
    source: Source,
    limits: LimitOptions,
    *,
    grants: GrantOptions,
    seed: int | None,
    on_unknown: Literal["fail", "raise"],
    plan: bool = False,
    saved: bool = False,
) -> RunRequest:
    """
    Read the script and its input, and check all that can be checked before anything runs.

    With `saved`, `name@version` or `name@alias` in place of a file is a saved script.

    Raises:
        UsageFault: no code, an unreadable or too large file, malformed JSON, a bad limit.
    """
    ref = _saved_ref(source) if saved else None
    script, name = read_script(source) if ref is None else ("", _UNNAMED)
    return RunRequest(
        script=script,
        script_ref=ref,
        input=read_input(source.input),
        limits=limits.to_limits(),
        grants=grants.rules(),
        force=grants.force,
        on_unknown=on_unknown,
        seed=seed,
        name=name,
        mode=Mode.PLAN if plan else Mode.RUN,
    )


def _saved_ref(source: Source) -> str | None:
    """Give the saved script that stands where a file would; a file of that name goes first."""
    text = str(source.file)
    if source.code is not None or source.file is None or "@" not in text or source.file.exists():
        return None
    from triggers.refs import Ref  # noqa: PLC0415 (seldom needed)

    try:
        Ref.parse(text)
    except Invalid:
        return None
    return text


def read_script(source: Source) -> tuple[str, str]:
    """
    Read a script; give it and its name.

    Raises:
        UsageFault: no code, or a file that is unreadable, too large or not UTF-8.
    """
    if source.code is not None:
        if source.file is not None:
            raise UsageFault("give a file or -e CODE, not both")
        raw, name = source.code.encode("utf-8", "surrogateescape"), "eval"
    elif source.file is not None and str(source.file) != "-":
        raw, name = _read_file(source.file, SPECS["script_bytes"].maximum), source.file.name
    elif sys.stdin.isatty():
        raise UsageFault("no code: name a file, give -e CODE, or pipe a script in")
    else:
        raw, name = sys.stdin.buffer.read(SPECS["script_bytes"].maximum + 1), "stdin"
    if not raw.strip():
        raise UsageFault("no code: the script is empty")
    limit = SPECS["script_bytes"].maximum
    if len(raw) > limit:
        raise UsageFault(f"the script has more than {limit} bytes, the limit of script_bytes")
    try:
        return raw.decode(), name
    except UnicodeDecodeError as error:
        raise UsageFault(f"the script is not UTF-8 text: byte {error.start + 1}") from None


def read_input(given: str | None) -> Any:
    """
    Read an input: JSON, or `@FILE` with JSON.

    Raises:
        UsageFault: it is none, or too large.
    """
    if given is None:
        return None
    limit = SPECS["input_bytes"].maximum
    if given.startswith("@"):
        raw = _read_file(Path(given[1:]), limit)
    else:
        raw = given.encode("utf-8", "surrogateescape")
    if len(raw) > limit:
        raise UsageFault(f"the input has more than {limit} bytes, the limit of input_bytes")
    return read_json(raw, "--input")


def read_json_file(path: Path) -> Any:
    """
    Read a file with JSON.

    Raises:
        UsageFault: it cannot be read, is too large, or no JSON.
    """
    raw = _read_file(path, _RULES_BYTES)
    if len(raw) > _RULES_BYTES:
        raise UsageFault(f"{path} has more than {_RULES_BYTES} bytes")
    return read_json(raw, str(path))


def read_json(raw: bytes, what: str) -> Any:
    """
    Read JSON text.

    Raises:
        UsageFault: it is none; `what` says in the message where it stands.
    """
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise UsageFault(f"{what} is not UTF-8 text: byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise UsageFault(f"{what} is not JSON: {error.msg} at {where}") from None
    except (ValueError, RecursionError) as error:
        raise UsageFault(f"{what} is not JSON that a script can take: {error}") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _read_file(path: Path, limit: int) -> bytes:
    """Read at most one byte more than `limit`: enough to see that it is too large."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise UsageFault(f"cannot read {path}: {error.strerror or error}") from None
