"""`moonsand scripts`, `schedules`, and `submit name@version`, as somebody at a terminal does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import moonsand as public
from moonsand import trigger_asks
from tenancy.scopes import Role
from tests.api_server import ApiServer
from tests.command import environment, moonsand
from triggers.saved import ScriptDraft

SCHEMA = '{"properties": {"n": {"type": "integer"}}, "required": ["n"]}'


class Terminal:
    """A person with a key, in a directory of their own."""

    def __init__(self, api: ApiServer, home: Path) -> None:
        self.url, self.key = api.url, api.new_key("acme", Role.DEVELOPER.scopes)
        self.home = home
        self.env = environment(home, MOONSAND_URL=self.url, MOONSAND_API_KEY=self.key)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command."""
        return moonsand(*arguments, env=self.env, stdin=stdin)

    def says(self, *arguments: str, stdin: str = "") -> str:
        """Run one command that succeeds; give what it prints."""
        done = self.run(*arguments, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def complains(self, *arguments: str) -> str:
        """Run one command that refuses; give what it says."""
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        return done.stderr

    def file(self, name: str, text: str) -> str:
        """Write a file; give its path."""
        path = self.home / name
        path.write_text(text)
        return str(path)


@pytest.fixture
def terminal(redis_url: str, tmp_path: Path) -> Iterator[Terminal]:
    """Somebody who uses a service without a worker."""
    with ApiServer(redis_url) as api:
        yield Terminal(api, tmp_path)


def test_scripts_are_saved_listed_shown_aliased_and_deleted(terminal: Terminal) -> None:
    """What was saved comes out as it went in; a pipe gets the text and nothing else."""
    job, schema = terminal.file("job.lua", "return input.n\n"), terminal.file("s.json", SCHEMA)
    save = ("scripts", "save", "job", job, "--schema", schema, "--calls", "3", "--alias", "prod")
    assert terminal.says(*save) == "job@1\n"
    assert terminal.says(*save) == "job@1\n"
    assert terminal.says("scripts", "save", "job", "-", stdin="return 2") == "job@2\n"
    assert terminal.says("scripts", "list").split() == ["job", "2", "prod=1"]
    shown = terminal.run("scripts", "show", "job@prod")
    assert (shown.returncode, shown.stdout) == (0, "return input.n\n")
    assert 'limits: {"calls": 3}' in shown.stderr
    one = json.loads(terminal.says("scripts", "show", "job@1", "--json"))
    assert one["input_schema"] == json.loads(SCHEMA)
    assert terminal.says("scripts", "show", "job", "--versions").count("job@") == 2
    assert terminal.says("scripts", "alias", "job", "prod", "2") == "job@prod is job@2\n"
    assert terminal.says("scripts", "delete", "job@1") == "job@1 is deleted\n"
    assert "the newest" in terminal.complains("scripts", "delete", "job@2")
    assert terminal.says("scripts", "delete", "job") == "job is deleted\n"
    assert terminal.says("scripts", "list") == ""


def test_a_saved_script_is_submitted_by_its_name(terminal: Terminal) -> None:
    """A file of that name goes first; a wrong input is told with its place."""
    schema = terminal.file("s.json", SCHEMA)
    terminal.says("scripts", "save", "job", "-e", "return 1", "--schema", schema)
    run = json.loads(terminal.says("submit", "job@latest", "--input", '{"n": 1}', "--json"))
    assert (run["script_ref"], run["name"]) == ("job@1", "job@1")
    assert "/input/n:" in terminal.complains("submit", "job@1", "--input", '{"n": "x"}')
    assert "has no alias prod" in terminal.complains("submit", "job@prod", "--input", '{"n": 1}')
    assert "cannot read job" in terminal.complains("submit", "job")
    assert "cannot read j@b@c" in terminal.complains("submit", "j@b@c")


def test_schedules_are_made_shown_changed_and_deleted(terminal: Terminal) -> None:
    """From nothing to nothing."""
    terminal.says("scripts", "save", "job", "-e", "return 1")
    make = ("schedules", "create", "job@1", "--cron", "30 2 * * *", "--tz", "Europe/Berlin")
    one = json.loads(terminal.says(*make, "--overlap", "queue", "--name", "nightly", "--json"))
    assert (one["state"], one["time_zone"], one["overlap"]) == ("active", "Europe/Berlin", "queue")
    assert "30 2 * * * Europe/Berlin  job@1  nightly" in terminal.says("schedules", "list")
    assert "paused" in terminal.says("schedules", "pause", one["id"])
    changed = terminal.says("schedules", "change", one["id"], "--every", "15m", "--missed", "all")
    assert "every 900 s" in changed
    assert "missed     all, the newest 100" in changed
    assert "active" in terminal.says("schedules", "resume", one["id"])
    assert "next fire" in terminal.says("schedules", "show", one["id"])
    assert terminal.says("schedules", "fires", one["id"]) == ""
    assert terminal.says("schedules", "delete", one["id"]) == f"{one['id']} is deleted\n"
    assert "no schedule with this id" in terminal.complains("schedules", "show", one["id"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("schedules", "create", "job"), "give one of --cron, --every and --at"),
        (("schedules", "create", "job", "--cron", "* * *"), "it must have five fields"),
        (("schedules", "create", "job", "--cron", "0 0 30 2 *"), "does not fire within 9 years"),
        (("schedules", "create", "job", "--every", "soon"), "--every takes a number of days"),
        (("schedules", "create", "job", "--at", "2020-01-01T00:00"), "it is in the past"),
        (("schedules", "create", "job", "--every", "1s", "--tz", "Mars"), "no time zone 'Mars'"),
        (("schedules", "create", "nobody", "--every", "1s"), "no saved script nobody"),
        (("schedules", "create", "a b", "--every", "1s"), "no name of a saved script"),
        (("schedules", "change", "sch_x"), "nothing to change was given"),
        (("schedules", "show", "nightly"), "no schedule with this id"),
        (("scripts", "save", "Job", "-e", "return 1"), "no name of a saved script"),
        (("scripts", "save", "job", "-e", "return 1", "--schema", "/nowhere"), "cannot read"),
        (("scripts", "show", "job@@"), "after `@` stands a version"),
        (("scripts", "alias", "job", "prod"), "give a VERSION, or --delete"),
        (("scripts", "delete", "job@prod"), "an alias is deleted by"),
        (("scripts", "alias", "job", "..", "--delete"), "names nothing that is kept"),
        (("scripts", "alias", "..", "prod", "--delete"), "names nothing that is kept"),
        (("schedules", "delete", ".."), "names nothing that is kept"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    terminal: Terminal, arguments: tuple[str, ...], said: str
) -> None:
    """Nothing is made; the exit code says that nothing was run."""
    terminal.says("scripts", "save", "job", "-e", "return 1")
    complaint = terminal.complains(*arguments)
    assert said in complaint
    assert len(complaint.splitlines()) <= 2


def test_a_script_that_is_wrong_is_not_saved(terminal: Terminal) -> None:
    """With --check: each finding in a line, exit code 1."""
    done = terminal.run("scripts", "save", "job", "-e", "return (", "--check")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("job:1:")
    assert done.stderr.endswith("nothing was saved\n")
    assert terminal.says("scripts", "list") == ""


def test_the_clients_ask_for_scripts_too(terminal: Terminal) -> None:
    """What the commands ask, a program can."""
    with public.Client(terminal.url, terminal.key) as client:
        version = client.send(
            trigger_asks.save_script(ScriptDraft(name="job", script="return 1", alias="prod"))
        )
        assert (version.ref, version.created_by[:4]) == ("job@1", "key_")
        assert client.send(trigger_asks.get_script("job")).aliases == {"prod": 1}
        client.send(trigger_asks.delete_script("job"))
        with pytest.raises(public.NotFound):
            client.send(trigger_asks.get_script("job"))
