"""What is shown of a batch while it runs: a bar on a terminal, else a line of JSON each second."""

from __future__ import annotations

import json
import time
from collections import deque
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from moonsand.terminal import write_output
from runs.batches.model import BatchRecord
from sandbox.outcome import Reason

_WINDOW_S = 10.0
_LINE_EVERY_S = 1.0


class View(Protocol):
    """Shows how far a batch is."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        ...

    def show(self, record: BatchRecord, total: int) -> None:
        """Show how it is now, of `total` items."""
        ...


class Pace:
    """How many items end a second, over the last ten seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int, now: float | None = None) -> None:
        """Note how many have ended."""
        now = time.monotonic() if now is None else now
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """Give the rate, 0 when it is not known yet."""
        if len(self._seen) < 2:
            return 0.0
        (began, before), (now, done) = self._seen[0], self._seen[-1]
        return max(0.0, (done - before) / (now - began)) if now > began else 0.0

    def eta_s(self, left: int) -> float | None:
        """Give the seconds that `left` items will take, None when nobody knows."""
        return left / self.per_s if self.per_s else None


def ended_of(record: BatchRecord) -> int:
    """Give how many items have ended."""
    counts = record.counts
    return counts.succeeded + counts.failed + counts.cancelled


def failures(record: BatchRecord) -> str:
    """Say how many items failed for which reason, the most frequent first; empty when none did."""
    rows = [(count, reason) for reason, count in record.reasons.items() if reason is not Reason.OK]
    return ", ".join(f"{reason} {count:,}" for count, reason in sorted(rows, reverse=True))


class Bar:
    """A bar on a terminal."""

    def __init__(self, console: Console) -> None:
        self._pace = Pace()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("[red]{task.fields[failed]}"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("uploading", rate="", failed="")

    def __enter__(self) -> Self:
        """Show it."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take it away."""
        self._progress.stop()

    def show(self, record: BatchRecord, total: int) -> None:
        """Show how it is now, of `total` items."""
        done = ended_of(record)
        rate = ""
        if record.sealed_ms is None:
            done = record.counts.received
        else:
            self._pace.note(done)
            rate = f"{self._pace.per_s:,.0f}/s"
            left_s = self._pace.eta_s(total - record.counts.skipped - done)
            if left_s is not None and not record.status.terminal:
                rate += f", {_clock(left_s)} left"
        self._progress.update(
            self._task,
            description=record.status.value,
            completed=done,
            total=total,
            rate=rate,
            failed=failures(record),
        )


class Lines:
    """A line of JSON at the beginning, each second, and at the end."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._written = 0.0
        self._last: dict[str, Any] = {}
        self._shown: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what was seen last, if it was not written."""
        if self._last != self._shown:
            self._write(self._last)

    def show(self, record: BatchRecord, total: int) -> None:
        """Write how it is now, if a second has passed."""
        done, now = ended_of(record), time.monotonic()
        self._pace.note(done, now)
        left_s = self._pace.eta_s(total - record.counts.skipped - done)
        row = {
            "batch": record.id,
            "status": record.status.value,
            "total": total,
            **record.counts.model_dump(),
            "rate_per_s": round(self._pace.per_s, 1),
            "eta_s": None if left_s is None else round(left_s, 1),
            "reasons": {reason.value: count for reason, count in record.reasons.items()},
        }
        self._last = row
        if now - self._written >= _LINE_EVERY_S or not self._shown:
            self._written = now
            self._write(row)

    def _write(self, row: dict[str, Any]) -> None:
        self._shown = row
        write_output(f"{json.dumps(row)}\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
