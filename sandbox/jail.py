"""
The jail: ordered steps that take everything away from the process that runs a script.

Runs in: zygote (`prepare`, `confine_zygote`), each fork of it (`confine_child`).
Trusts: the kernel, and the code that ran before it in the zygote.
Refuses: to let anything run when a required step cannot be taken (`JailUnavailable`).
May import: stdlib, sandbox.kernel, sandbox.limits.

What is inherited by a fork and leaves the zygote able to work is done once, in `ZYGOTE_STEPS`;
`CHILD_STEPS` do the rest in each fork, in a few system calls. Read both from the top: the order is
the argument. What to know when writing code that runs inside:

- Import, open and load everything before `confine_zygote`; afterwards there is no file system.
- In a child, read and write its socket with `os.read` and `os.write` on the bare descriptor. The
  calls behind `socket.recv`, `send`, `select` and `poll` kill. Leave by `os._exit`.
- Descriptors 0, 1 and 2 are /dev/null in the zygote and closed in a child, where nothing can
  open a new one: a stray write to standard error fails with EBADF.
- `RLIMIT_NOFILE` is 0 in a child, and `RLIMIT_AS` and `RLIMIT_CPU` are at the maxima of
  `sandbox.limits`; a run lowers the last two further.
- The zygote must be forked by a thread that lives as long as it may: it is killed with it.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.kernel import capabilities, landlock, libc, namespaces, prctl, seccomp, throwaway
from sandbox.limits import MIB, SPECS

#: The user and group that a run has where the zygote may choose: nobody, nogroup.
UNPRIVILEGED_ID = 65534

#: Address space over what the zygote maps: copies of replies, results and output in Python.
_ADDRESS_SPACE_MARGIN_BYTES = 256 * MIB
_STACK_BYTES = 8 * MIB
_CPU_SECONDS = SPECS["cpu_ms"].maximum // 1000 + 1


class JailUnavailable(Exception):  # noqa: N818 (reads as a sentence where it is raised)
    """
    A required step cannot be taken here; nothing may run.

    `step` is its name in `ZYGOTE_STEPS` or `CHILD_STEPS`, `why` what the kernel answered.
    """

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"{step}: {why}")
        self.step = step
        self.why = why


@dataclass(frozen=True, slots=True)
class Taken:
    """How one step went: taken or not, and a word about it."""

    step: str
    required: bool
    ok: bool
    detail: str


@dataclass(slots=True)
class Plan:
    """What `prepare` found out, and what the steps leave for each other."""

    filter: seccomp.Filter
    parent_pid: int
    zygote_pid: int = 0
    kept_fds: frozenset[int] = frozenset()
    taken: list[Taken] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """Give how each step went, as JSON: name to {"required", "ok", "detail"}."""
        return {
            one.step: {"required": one.required, "ok": one.ok, "detail": one.detail}
            for one in self.taken
        }


@dataclass(frozen=True, slots=True)
class Step:
    """
    One step. `act` returns a word about what it did and raises `OSError` when it cannot.

    A step that is not required is a further layer over required ones that deny the same.
    """

    name: str
    act: Callable[[Plan], str]
    required: bool = True


def prepare() -> Plan:
    """
    Compile the system call filter and fix the time zone, while this is still an ordinary process.

    Call it early in the zygote, before any thread; it forks once.

    Raises:
        JailUnavailable: the architecture is not supported, or libseccomp is missing.
    """
    if libc.machine() not in seccomp.ARCHITECTURES:
        known = ", ".join(seccomp.ARCHITECTURES)
        raise JailUnavailable("architecture", f"{libc.machine()} is none of {known}")
    # Text codecs are imported at first use; there is no first use once files are gone.
    for codec in ("utf-8", "ascii", "latin-1"):
        b"".decode(codec)
    return Plan(filter=seccomp.Filter(_compiled_policy()), parent_pid=os.getppid())


def confine_zygote(plan: Plan, keep_fds: Sequence[int]) -> None:
    """
    Confine this process, then prove it on a throw-away fork: every step of both lists.

    *keep_fds* are the sockets or pipes that it keeps. It can still fork, make socket pairs and
    pass descriptors over them, poll, and wait for its children.

    Raises:
        JailUnavailable: a required step failed; this process must end without forking a run.
    """
    plan.kept_fds = frozenset(keep_fds)
    for step in ZYGOTE_STEPS:
        taken = take(step, plan)
        if step.required and not taken.ok:
            raise JailUnavailable(step.name, taken.detail)
    rehearse(plan)


def confine_child(plan: Plan, keep_fd: int) -> None:
    """
    Confine this fork of the zygote; *keep_fd*, its socket, is all it keeps.

    Raises:
        JailUnavailable: a step failed; this process must end without running anything.
    """
    for name, act in CHILD_STEPS:
        try:
            act(plan, keep_fd)
        except OSError as refused:
            raise JailUnavailable(name, _words(refused)) from None


def take(step: Step, plan: Plan) -> Taken:
    """Take one step of the zygote and note in the plan how it went."""
    try:
        taken = Taken(step.name, step.required, True, step.act(plan))
    except OSError as refused:
        taken = Taken(step.name, step.required, False, _words(refused))
    plan.taken.append(taken)
    return taken


def rehearse(plan: Plan) -> None:
    """
    Confine a throw-away fork and see it refused: a file politely, a socket by death.

    Raises:
        JailUnavailable: a step of `CHILD_STEPS` failed in the fork, or the filter does not bite.
    """
    trial = throwaway.run(lambda end: _act_out(plan, end))
    step, _, why = trial.said.decode(errors="replace").partition("\n")
    if step != "confined":
        raise JailUnavailable(step or "rehearsal", why or "the forked child said nothing")
    if trial.killed_by != signal.SIGSYS:
        raise JailUnavailable("seccomp", "the filter was loaded, yet socket(2) did not kill")


def _act_out(plan: Plan, end: socket.socket) -> None:
    fd = end.detach()
    try:
        confine_child(plan, fd)
        try:
            os.open("/", os.O_RDONLY)
            os.write(fd, b"seccomp\nthe filter was loaded, yet a directory could be opened")
        except PermissionError:
            os.write(fd, b"confined\n")
    except JailUnavailable as refused:
        os.write(fd, f"{refused.step}\n{refused.why}".encode())
        return
    socket.socket()


def _compiled_policy() -> bytes:
    trial = throwaway.run(_send_policy)
    verdict, _, content = trial.said.partition(b"\n")
    if verdict != b"compiled" or not content:
        why = content.decode(errors="replace") or "libseccomp ended the process that compiled"
        raise JailUnavailable("seccomp", why)
    return content


def _send_policy(end: socket.socket) -> None:
    try:
        end.sendall(b"compiled\n" + seccomp.compile_policy())
    except (seccomp.CompilerMissing, OSError) as failure:
        end.sendall(b"failed\nno filter could be compiled: " + str(failure).encode())


# ---- steps of the zygote, in order ----


def _have_one_thread(_: Plan) -> str:
    # Most of what follows binds one thread only; a second one would stay free.
    try:
        count = len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        count = threading.active_count()
    if count != 1:
        raise OSError(1, f"the process has {count} threads")
    return "one thread"


def _leave_the_session(_: Plan) -> str:
    os.umask(0o077)
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    return "own session"


def _close_descriptors(plan: Plan) -> str:
    for fd in plan.kept_fds:
        mode = os.fstat(fd).st_mode
        if fd <= 2 or not (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
            raise OSError(9, f"descriptor {fd} is no socket or pipe above 2")
    nowhere = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    first = 3
    for fd in sorted(plan.kept_fds):
        prctl.close_between(first, fd - 1)
        first = fd + 1
    prctl.close_from(first)
    return f"{len(plan.kept_fds)} kept"


def _empty_the_environment(_: Plan) -> str:
    libc.wipe_environment()
    os.environ.clear()
    return "empty"


def _enter_user_namespace(_: Plan) -> str:
    if capabilities.holds(capabilities.SYS_ADMIN):
        return "not needed: CAP_SYS_ADMIN is held"
    _become_unprivileged_if_root()
    prctl.set_dumpable(allowed=True)  # a change of user forbids a process its own maps
    namespaces.become_user(UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    return "own"


def _enter_namespace(kind: int) -> Callable[[Plan], str]:
    def act(_: Plan) -> str:
        namespaces.leave(kind)
        return "own"

    return act


def _empty_the_root(plan: Plan) -> str:
    if any(one.step == "mount namespace" and one.ok for one in plan.taken):
        namespaces.empty_root()
        return "empty, read-only"
    namespaces.deleted_root()
    return "a deleted directory"


def _change_user(_: Plan) -> str:
    _become_unprivileged_if_root()
    user = os.geteuid()
    return "root, without a capability" if user == 0 else f"user {user}"


def _become_unprivileged_if_root() -> None:
    """
    Leave user 0 where this process may, and may still be killed by the one that started it.

    That one has the same capabilities: without CAP_KILL it could not end a run of another user,
    nor would the kernel end the zygote with it.
    """
    needed = (capabilities.SETUID, capabilities.SETGID, capabilities.KILL)
    if os.geteuid() != 0 or not capabilities.holds(*needed):
        return
    capabilities.close_ways_back()
    os.setgroups([])
    os.setresgid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    os.setresuid(UNPRIVILEGED_ID, UNPRIVILEGED_ID, UNPRIVILEGED_ID)


def _forbid_new_privileges(_: Plan) -> str:
    prctl.set_no_new_privileges()
    return "set"


def _drop_capabilities(_: Plan) -> str:
    capabilities.clear()
    return "none left"


def _deny_by_landlock(_: Plan) -> str:
    return f"ABI {landlock.deny_everything()}, everything denied"


def _lower_inherited_limits(_: Plan) -> str:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    mapped_bytes = pages * resource.getpagesize()
    address_space_bytes = (
        mapped_bytes + 2 * SPECS["memory_bytes"].maximum + _ADDRESS_SPACE_MARGIN_BYTES
    )
    _lower(resource.RLIMIT_AS, address_space_bytes)
    _lower(resource.RLIMIT_STACK, _STACK_BYTES)
    for nothing in (
        resource.RLIMIT_CORE,
        resource.RLIMIT_FSIZE,
        resource.RLIMIT_MEMLOCK,
        resource.RLIMIT_MSGQUEUE,
        resource.RLIMIT_NICE,
        resource.RLIMIT_RTPRIO,
    ):
        _lower(nothing, 0)
    return f"address space {address_space_bytes // MIB} MiB"


def _forbid_dumps(_: Plan) -> str:
    prctl.set_dumpable(allowed=False)
    if prctl.is_dumpable():
        raise OSError(1, "prctl PR_SET_DUMPABLE: said to be done and is not")
    return "not dumpable"


def _die_with_the_worker(plan: Plan) -> str:
    prctl.die_with_parent()
    if os.getppid() != plan.parent_pid:
        raise OSError(3, "the process that started the zygote is gone")
    plan.zygote_pid = os.getpid()
    return "set"


def _fix_the_time_zone(_: Plan) -> str:
    time.tzset()  # no TZ and no /etc/localtime: UTC
    if time.timezone != 0 or time.daylight != 0:
        raise OSError(1, "the time zone is not UTC")
    return "UTC"


ZYGOTE_STEPS: tuple[Step, ...] = (
    Step("one thread", _have_one_thread),
    Step("session", _leave_the_session),
    Step("descriptors", _close_descriptors),
    Step("environment", _empty_the_environment),
    # Before the user changes, for it needs the privilege; before Landlock, which forbids mounts.
    Step("user namespace", _enter_user_namespace, required=False),
    Step("network namespace", _enter_namespace(namespaces.NETWORK), required=False),
    Step("ipc namespace", _enter_namespace(namespaces.IPC), required=False),
    Step("host name namespace", _enter_namespace(namespaces.HOST_NAME), required=False),
    Step("mount namespace", _enter_namespace(namespaces.MOUNT), required=False),
    Step("resource limits", _lower_inherited_limits),  # reads /proc: before the root is empty
    Step("empty root", _empty_the_root, required=False),
    Step("unprivileged user", _change_user, required=False),
    Step("no new privileges", _forbid_new_privileges),
    Step("capabilities", _drop_capabilities),
    Step("landlock", _deny_by_landlock),
    # After the user changed, which resets both.
    Step("not dumpable", _forbid_dumps),
    Step("death with parent", _die_with_the_worker),
    Step("time zone", _fix_the_time_zone),
)


# ---- steps of each child, in order; few system calls and no allocation worth naming ----


def _start_session(_plan: Plan, _keep_fd: int) -> None:
    os.setsid()


def _close_all_but_its_socket(plan: Plan, keep_fd: int) -> None:
    if keep_fd <= 2 or keep_fd in plan.kept_fds:
        raise OSError(9, f"descriptor {keep_fd} is not a child's to keep")
    prctl.close_all_but(keep_fd)


def _die_with_the_zygote(plan: Plan, _keep_fd: int) -> None:
    prctl.die_with_parent()
    if os.getppid() != plan.zygote_pid:
        raise OSError(3, "the zygote is gone")


def _lower_own_limits(_plan: Plan, _keep_fd: int) -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))


def _load_filter(plan: Plan, _keep_fd: int) -> None:
    plan.filter.load()


CHILD_STEPS: tuple[tuple[str, Callable[[Plan, int], None]], ...] = (
    ("session", _start_session),
    ("descriptors", _close_all_but_its_socket),
    ("death with parent", _die_with_the_zygote),
    ("resource limits", _lower_own_limits),
    ("seccomp", _load_filter),
)


def _lower(limit: int, ceiling: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(limit, (ceiling, ceiling))


def _words(refused: OSError) -> str:
    where = f" ({refused.filename})" if refused.filename else ""
    return f"{refused.strerror or refused}{where}"
