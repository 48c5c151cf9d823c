"""What the demo shows: coloured on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from moonsand.exchange import Event
from moonsand.terminal import safe, summary
from runs.model import RunRecord, State

_LOG_LINES = 30


class DemoView:
    """Shows runs as they happen, then a table of how they ended."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._ended: list[RunRecord] = []
        self._rest = ""
        self._broken = False
        self.complete = False

    @property
    def good(self) -> bool:
        """Tell whether all runs came, each succeeded, and all else that has to hold does."""
        return self.complete and not self._broken and self._successes() == len(self._ended) > 0

    def starting(self) -> None:
        """Say what is being started."""
        self._line("starting Redis, the API, one worker and a stub of Mux on this machine", "dim")

    def up(self, url: str) -> None:
        """Say where the API is."""
        self._line(f"API at {url}", "bold")

    def submitted(self, name: str, run_id: str) -> None:
        """Begin one run."""
        self._line("")
        self._line(f"{name}  {run_id}", "bold cyan")

    def event(self, event: Event) -> None:
        """Show one event of the run."""
        if event.type == "log":
            self._printed(str(event.data.get("text", "")))
            return
        self._printed("", last=True)
        if event.type == "call":
            name, effect = event.data.get("name"), event.data.get("effect")
            took = event.data.get("duration_ms")
            self._line(
                f"  call {name} ({event.data.get('effect_class')}) {effect}, {took} ms", "blue"
            )
        elif event.state is not None:
            self._line(f"  {event.state}", "dim")

    def _printed(self, text: str, *, last: bool = False) -> None:
        """Show whole lines; what is printed comes in pieces."""
        *lines, self._rest = (self._rest + text).split("\n")
        if last and self._rest:
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            self._line(f"  | {line}")

    def ended(self, record: RunRecord) -> None:
        """Show the run's result, or why there is none, and its usage."""
        self._ended.append(record)
        if record.error is not None:
            where = f" (line {record.error.line})" if record.error.line is not None else ""
            self._line(f"  {record.reason}{where}: {record.error.message}", "bold red")
        self._line(f"  result {json.dumps(record.result, ensure_ascii=False)}", "green")
        self._line(f"  {summary(record)}", "dim")

    def say(self, line: str) -> None:
        """Show what was done from outside of the run."""
        self._line(f"  {line}", "yellow")

    def check(self, what: str, *, good: bool) -> None:
        """Show one thing that has to hold; if it does not, the demo fails."""
        self._broken = self._broken or not good
        self._line(f"  {'ok' if good else 'WRONG'}: {what}", "green" if good else "bold red")

    def end(self, url: str) -> None:
        """Show all runs in one table, and the verdict."""
        self.complete, good = True, self._successes()
        self._line("")
        if self._console.is_terminal:
            self._console.print(self._table())
        style = "bold green" if good == len(self._ended) else "bold red"
        self._line(f"{good} of {len(self._ended)} runs ended as they should", style)
        self._line(f"API was at {url}", "dim")

    def kept(self, url: str, key: str) -> None:
        """Say how to use the service that is left up."""
        self._line("")
        self._line(f"still up: {url}", "bold")
        self._line(f"export MOONSAND_URL={url} MOONSAND_API_KEY={key}")
        self._line("moonsand submit -e 'return 1 + 1' --wait")
        self._line("Ctrl-C ends it", "dim")

    def log(self, path: Path | None) -> None:
        """Show the last lines of the service's log."""
        lines = path.read_text(errors="replace").splitlines() if path and path.exists() else []
        for line in lines[-_LOG_LINES:]:
            self._line(line, "dim")

    def _successes(self) -> int:
        return sum(record.status is State.SUCCEEDED for record in self._ended)

    def _table(self) -> Table:
        table = Table("run", "state", "reason", "calls", "wall ms", "CPU ms", "instructions")
        for record in self._ended:
            usage = record.usage
            style = "green" if record.status is State.SUCCEEDED else "red"
            numbers = (usage.calls, usage.wall_ms, usage.cpu_ms)
            row = [record.name, record.status, record.reason or "", *map(str, numbers)]
            table.add_row(*row, f"{usage.instructions:,}", style=style)
        return table

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(safe(text), style=style))
