"""The jail, tried from inside: what a confined process can still reach, on each kind of host."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pyseccomp
import pytest

from sandbox.doctor import Check, is_usable, probe_host
from sandbox.jail_steps import ZYGOTE_STEPS
from sandbox.kernel import seccomp
from tests.deadline import Deadline
from tests.security.jail_attempts import ATTEMPTS, KILLED

pytestmark = pytest.mark.jail

_ROOT = Path(__file__).parents[2]
_SITUATIONS = (
    "root",
    "ordinary user",
    "container, root without capabilities",
    "container, root with default capabilities",
    "container, ordinary user",
)
_NEED_ROOT = {name for name in _SITUATIONS if "root" in name}
_FULL = (1 << 64) - 1

_ERRANDS = (
    "open descriptors",
    "environment",
    "limits",
    "raise a limit",
    "work",
    "import late",
    "zygote list root",
    "zygote interfaces",
    "zygote loopback is up",
    "zygote identity",
    "zygote regain",
)


def _number(name: str) -> int | None:
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    return number if number >= 0 else None


def _must_be_possible(situation: str) -> None:
    """Skip aloud what only root can set up, and fail instead where the jail is required."""
    if situation in _NEED_ROOT and os.geteuid() != 0:
        message = f"only root can set up the situation {situation!r}"
        if os.environ.get("REQUIRE_JAIL") == "1":
            pytest.fail(message)
        pytest.skip(message)


@contextmanager
def _room(request: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(55)
    with ours, theirs:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.security.jail_room",
                str(theirs.fileno()),
                json.dumps(request),
            ],
            cwd=_ROOT,
            pass_fds=[theirs.fileno()],
            env={"SECRET": "a-secret-of-the-zygote", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait()


def _ask(**request: Any) -> dict[str, Any]:
    """Build a jail in a process of its own, let things be tried in it, and give what came of it."""
    said = b""
    with _room(request) as (_, ours):
        while chunk := ours.recv(1 << 16):
            said += chunk
    answer: dict[str, Any] = json.loads(said)
    assert "crashed" not in answer, answer["crashed"]
    return answer


@cache
def _tried(situation: str) -> dict[str, Any]:
    _must_be_possible(situation)
    attempts = [
        (name, number, arguments)
        for name, (call, arguments, _) in ATTEMPTS.items()
        if (number := _number(call)) is not None
    ]
    return _ask(situation=situation, attempts=attempts, errands=_ERRANDS)


@pytest.fixture(params=_SITUATIONS)
def tried(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Everything tried in one host situation."""
    return _tried(request.param)


def test_every_refused_thing_is_refused(tried: dict[str, Any]) -> None:
    """A jailed child that makes a call it may not make dies by SIGSYS or is told EPERM."""
    expected = {name: how for name, (_, _, how) in ATTEMPTS.items() if name in tried["attempts"]}
    actual = {
        name: KILLED if one["killed_by"] == signal.SIGSYS else (one["said"] or one)
        for name, one in tried["attempts"].items()
    }

    assert {
        name: how if how == KILLED else {"errno": how} for name, how in expected.items()
    } == actual


def test_required_layers_stand_everywhere(tried: dict[str, Any]) -> None:
    """In every situation each required step was taken."""
    missing = [name for name, one in tried["report"].items() if one["required"] and not one["ok"]]

    assert missing == []


def test_nothing_is_open_but_the_socket(tried: dict[str, Any]) -> None:
    """A child reads from no descriptor but its socket: not 0 to 2, not what the zygote kept."""
    assert tried["errands"]["open descriptors"]["said"] == []


def test_environment_is_wiped_where_it_lay(tried: dict[str, Any]) -> None:
    """Not a byte of the zygote's environment is left, not even on its initial stack."""
    said = tried["errands"]["environment"]["said"]

    assert said["bytes"] > 0
    assert (said["names"], said["non_zero"]) == ([], 0)


def test_limits_are_down_and_stay_down(tried: dict[str, Any]) -> None:
    """Resource limits of a child are at or below the maxima and cannot be raised."""
    limits = tried["errands"]["limits"]["said"]

    for name in ("CORE", "NPROC", "FSIZE", "NOFILE", "MEMLOCK", "MSGQUEUE"):
        assert limits[name] == [0, 0], name
    assert limits["CPU"] == [61, 61]
    assert 0 < limits["AS"][1] < 2 << 30
    assert limits["STACK"][1] <= 8 << 20
    assert tried["errands"]["raise a limit"]["said"] != "raised"


def test_ordinary_work_is_possible(tried: dict[str, Any]) -> None:
    """Memory, locks, clocks and a failing late import work under the filter."""
    assert tried["errands"]["work"]["said"] == 100_000
    assert tried["errands"]["import late"]["said"] == "ModuleNotFoundError"


def test_zygote_has_no_privilege_left(tried: dict[str, Any]) -> None:
    """The zygote itself holds no capability and finds no way back to one."""
    identity = tried["errands"]["zygote identity"]["said"]

    for name in ("effective", "permitted", "inheritable", "ambient"):
        assert identity[name] == 0, name
    assert tried["errands"]["zygote regain"]["said"] == []


def test_landlock_alone_denies_files(tried: dict[str, Any]) -> None:
    """Without any filter the zygote can still list no directory."""
    assert tried["errands"]["zygote list root"]["said"] == "EACCES"


@pytest.mark.parametrize("situation", ["root", "ordinary user"])
def test_namespaces_are_empty(situation: str) -> None:
    """Where namespaces are allowed, there is one interface, it is down, and the root is empty."""
    tried = _tried(situation)
    report = tried["report"]
    if not report["network namespace"]["ok"] and os.environ.get("REQUIRE_JAIL") != "1":
        pytest.skip("this host refuses namespaces to this user: " + str(report))

    assert report["empty root"] == {"required": False, "ok": True, "detail": "empty, read-only"}
    assert tried["errands"]["zygote interfaces"]["said"] == ["lo"]
    assert tried["errands"]["zygote loopback is up"]["said"] is False


def test_root_becomes_nobody() -> None:
    """As root, the zygote leaves user 0, its groups and its bounding set behind."""
    identity = _tried("root")["errands"]["zygote identity"]["said"]

    assert identity["users"] == [65534] * 3
    assert set(identity["groups"]) == {65534}
    assert identity["bounding"] == 0


def test_container_without_capabilities_is_told_of_user_0() -> None:
    """Where user 0 cannot be left, the jail stands and its report says so."""
    step = _tried("container, root without capabilities")["report"]["unprivileged user"]

    assert (step["ok"], step["required"]) == (False, False)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="these two ABIs exist on x86_64 alone")
def test_foreign_abis_kill() -> None:
    """The i386 and x32 entries to the kernel, whose numbers mean other calls, kill."""
    x32_getpid = 0x40000000 | 39
    situation = "ordinary user"
    answer = _ask(situation=situation, attempts=[("x32", x32_getpid, [])], errands=["i386 call"])

    assert answer["attempts"]["x32"]["killed_by"] == signal.SIGSYS
    assert answer["errands"]["i386 call"]["killed_by"] == signal.SIGSYS


def test_no_unknown_call_slips_through() -> None:
    """Every call number that is not on the lists kills: the default is no, also for new calls."""
    known = {_number(name) for name in (*(name for name, _ in seccomp.ALLOWED), *seccomp.PROBES)}
    numbers = [number for number in range(600) if number not in known]
    attempts = [(str(number), number, []) for number in numbers]  # type: ignore[var-annotated]
    tried = _ask(situation="ordinary user", attempts=attempts)["attempts"]
    alive = {name: one for name, one in tried.items() if one["killed_by"] != signal.SIGSYS}

    assert {name: one for name, one in alive.items() if not _is_a_probe_gate(name, one)} == {}


def _is_a_probe_gate(name: str, tried: dict[str, Any]) -> bool:
    """
    Tell whether this is uretprobe or uprobe, answering that it was not called by the kernel.

    Linux (6.14, 6.18) exempts these two of x86_64 from every filter; outside of the kernel's own
    trampoline, which exists where root placed a probe, they do nothing.
    """
    refused = tried["killed_by"] == signal.SIGILL or tried["said"] == {"errno": "ENXIO"}
    return os.uname().machine == "x86_64" and name in {"335", "336"} and refused


# ---- required steps that cannot be taken ----

_REFUSALS: dict[str, tuple[str, list[tuple[str, int, list[tuple[int, int, int]]]]]] = {
    "no session": ("session", [("setsid", errno.EPERM, [])]),
    "no close_range": ("descriptors", [("close_range", errno.ENOSYS, [])]),
    "no new limits": ("resource limits", [("prlimit64", errno.EPERM, [])]),
    "no no_new_privs": ("no new privileges", [("prctl", errno.EINVAL, [(0, _FULL, 38)])]),
    "no capset": ("capabilities", [("capset", errno.EPERM, [])]),
    "no Landlock": ("landlock", [("landlock_create_ruleset", errno.ENOSYS, [])]),
    "Landlock disabled": ("landlock", [("landlock_create_ruleset", errno.EOPNOTSUPP, [])]),
    "no Landlock domain": ("landlock", [("landlock_restrict_self", errno.EPERM, [])]),
    "no dumpable": ("not dumpable", [("prctl", errno.EPERM, [(0, _FULL, 4)])]),
    "no death signal": ("death with parent", [("prctl", errno.EPERM, [(0, _FULL, 1)])]),
    "no filter": ("seccomp", [("prctl", errno.EINVAL, [(0, _FULL, 22)])]),
}


@pytest.mark.parametrize("case", _REFUSALS)
def test_a_host_that_refuses_a_required_step_runs_nothing(case: str) -> None:
    """When the kernel refuses a required step, the jail names it and no child is forked."""
    step, refuse = _REFUSALS[case]
    answer = _ask(situation="ordinary user", refuse=refuse, attempts=[("x", _number("brk"), [])])

    assert answer["unavailable"] == step
    assert "attempts" not in answer
    assert answer["why"]


@pytest.mark.parametrize("case", _REFUSALS)
def test_doctor_finds_the_refused_step(case: str) -> None:
    """On a host that refuses a required step, the doctor names it and says what to do."""
    step, refuse = _REFUSALS[case]
    answer = _ask(situation="ordinary user", refuse=refuse, doctor=True)
    checks = [Check(**one) for one in answer["checks"]]
    missing = [check for check in checks if check.required and not check.ok]

    assert not is_usable(checks)
    assert any(step in (check.name, check.detail.partition(":")[0]) for check in missing), missing
    assert all(check.remedy for check in missing)


@pytest.mark.parametrize("situation", _SITUATIONS)
def test_doctor_finds_every_situation_usable(situation: str) -> None:
    """On each kind of host the doctor finds all that is required."""
    _must_be_possible(situation)
    answer = _ask(situation=situation, refuse=[], doctor=True)

    assert is_usable([Check(**one) for one in answer["checks"]])


@pytest.mark.parametrize("step", [step.name for step in ZYGOTE_STEPS if step.required])
def test_each_required_step_is_required(step: str) -> None:
    """Whichever required step fails, the jail names that one and no child is forked."""
    answer = _ask(situation="ordinary user", broken=step)

    assert answer == {"unavailable": step, "why": "broken on purpose"}


@pytest.mark.parametrize("step", [step.name for step in ZYGOTE_STEPS if not step.required])
def test_each_further_layer_is_a_further_layer(step: str) -> None:
    """Without any one optional step a child still is refused files, sockets and programs."""
    wanted = ("open a file", "internet socket", "execute a program", "signal process 1")
    attempts = [(name, _number(ATTEMPTS[name][0]), ATTEMPTS[name][1]) for name in wanted]
    answer = _ask(situation="ordinary user", broken=step, attempts=attempts)
    tried = [answer["attempts"][name] for name in wanted]

    assert answer["report"][step]["ok"] is False
    assert tried[0]["said"] == {"errno": "EPERM"}
    assert [one["killed_by"] for one in tried[1:]] == [signal.SIGSYS] * 3


@pytest.mark.parametrize(
    ("broken", "step"),
    [
        ("a second thread", "one thread"),
        ("shared writable memory", "writable memory"),
        ("writable executable memory", "writable memory"),
        ("no compiler", "seccomp"),
        ("another machine", "architecture"),
        ("a filter that allows everything", "seccomp"),
    ],
)
def test_a_jail_that_would_not_hold_is_refused(broken: str, step: str) -> None:
    """A free thread, memory that is not private, no filter or an idle one: nothing runs."""
    assert _ask(situation="ordinary user", broken=broken)["unavailable"] == step


# ---- who dies with whom ----


@pytest.mark.parametrize("situation", _SITUATIONS)
@pytest.mark.parametrize("victim", ["worker", "zygote"])
def test_nobody_outlives_its_parent(situation: str, victim: str, deadline: Deadline) -> None:
    """SIGKILL of the worker or the zygote takes every process below with it."""
    _must_be_possible(situation)
    with _room({"situation": situation, "linger": True}) as (worker, ours):
        _, pidfds, _, _ = socket.recv_fds(ours, 1, 2)
        zygote, _child = pidfds
        try:
            if victim == "worker":
                worker.kill()
            else:
                signal.pidfd_send_signal(zygote, signal.SIGKILL)
            deadline.until(lambda: len(select.select(pidfds, [], [], 0)[0]) == 2, "the end of both")
        finally:
            for fd in pidfds:
                os.close(fd)


# ---- the doctor ----


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_doctor_tells_of_every_step_and_changes_nothing() -> None:
    """The probe names every step, finds this host usable, and leaves its caller as it was."""
    before = (os.getresuid(), dict(os.environ), Path.cwd(), _descriptors())
    checks = probe_host()
    after = (os.getresuid(), dict(os.environ), Path.cwd(), _descriptors())

    assert before == after
    assert {step.name for step in ZYGOTE_STEPS} < {check.name for check in checks}
    assert [check for check in checks if check.required and not check.ok] == []
    assert is_usable(checks)
    assert all(bool(check.remedy) != check.ok for check in checks)


def test_each_step_is_explained_to_operators() -> None:
    """The operators' page has a row for every check the doctor prints, saying if it is required."""
    page = (_ROOT / "docs" / "jail.md").read_text()

    for check in probe_host():
        row = f"| {check.name} | {'yes' if check.required else 'no'} |"
        assert row in page, row


def test_doctor_refuses_a_host_without_a_required_step() -> None:
    """One required check that is not met makes the host unusable; an optional one does not."""
    met = Check("landlock", True, True, "ABI 7", "")
    optional = Check("user namespace", False, False, "unshare: refused", "allow it")
    unmet = Check("seccomp", True, False, "refused", "install it")

    assert is_usable([met, optional])
    assert not is_usable([met, optional, unmet])
    assert not is_usable([])
