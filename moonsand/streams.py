"""The standard streams of the command, in whatever state its caller left them."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from moonsand.exits import Exit
from moonsand.terminal import write_error


def prepare() -> None:
    """Open what is closed on the null device; show what a stream cannot encode as a code."""
    # A closed number would be given to the next socket or file, and who prints would write there.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, _null(number))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def output_is_lost() -> bool:
    """Tell whether what was written to stdout cannot go out."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def finish(code: int) -> int:
    """Write out what is left, and give the exit code: `code`, unless that could not be done."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has left
        _discard(sys.stdout)
        code = code or Exit.FAILED
    except OSError as error:
        _discard(sys.stdout)
        write_error(f"moonsand: the output could not be written: {error.strerror}")
        code = Exit.OURS
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return int(code)


def _null(number: int) -> TextIO:
    descriptor = os.open(os.devnull, os.O_RDWR)
    try:
        os.fstat(number)
    except OSError:
        os.dup2(descriptor, number)
    if descriptor == number:
        os.set_inheritable(number, True)  # as the standard streams are
    return os.fdopen(descriptor, "r" if number == 0 else "w", encoding="utf-8")


def _discard(stream: TextIO) -> None:
    """Let the flush at exit succeed."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
