"""Logs hold no secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from core.logs import configure_logs, hide_secrets
from tenancy.keys import new_plain_key
from tests.command import environment


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_secrets_are_blotted_out() -> None:
    """API keys in any text, passwords in URLs and values under telling names are hidden."""
    plain = new_plain_key()
    event = hide_secrets(
        None,
        "info",
        {"event": f"got {plain}!", "authorization": "x", "url": "redis://:pw@h/0", "status": 200},
    )
    assert event == {
        "event": "got [hidden]!",
        "authorization": "[hidden]",
        "url": "redis://[hidden]@h/0",
        "status": 200,
    }


@pytest.mark.usefixtures("restored_logging")
def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours and the standard library's lines are JSON, on stderr, one a line, newlines escaped."""
    configure_logs("info")
    structlog.get_logger("a").info("first", path="/x\n{}")
    structlog.get_logger("a").debug("hidden by its level")
    logging.getLogger("uvicorn.error").warning("second %s", new_plain_key())
    structlog.get_logger("a").error("third", exc_info=ValueError(new_plain_key()))
    out, err = capsys.readouterr()
    every = [json.loads(line) for line in err.splitlines()]
    lines = [line for line in every if line["logger"] in {"a", "uvicorn.error"}]
    assert out == ""
    assert [line["event"] for line in lines] == ["first", "second [hidden]", "third"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert "ms_live_" not in err


BROKEN_COMMAND = """
import structlog
from moonsand import cli

@cli.app.command()
def broken():
    value = "canary-" + "of-a-command"
    try:
        raise ValueError("it broke")
    except ValueError:
        structlog.get_logger("here").exception("broken", seen=1)
    return 3

cli.main(["broken"])
"""


def test_a_command_logs_no_values_of_variables() -> None:
    """What breaks inside a command here is told on stderr alone, without what variables held."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_COMMAND],
        env=environment(), capture_output=True, text=True, timeout=45, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "")
    assert json.loads(done.stderr)["event"] == "broken"
    assert "canary-of" not in done.stderr
