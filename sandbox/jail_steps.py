"""
The steps of the jail, in order: what the zygote gives up, and what each fork gives up after it.

Runs in: zygote; the calls laid out here are made in each fork of it.
Trusts: the kernel. Refuses: a step that the kernel says it took and did not.
May import: stdlib, sandbox.kernel, sandbox.limit_specs.

Start at `ZYGOTE_STEPS` and `child_calls`: the order is the argument.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from sandbox.kernel import capabilities, landlock, libc, namespaces, prctl, proc, seccomp
from sandbox.kernel.prepared import PreparedCall, lay_out
from sandbox.limit_specs import MIB, SPECS

#: The user and group that a run has where the zygote may choose: nobody, nogroup.
UNPRIVILEGED_ID = 65534

#: Address space over what the zygote maps: copies of replies, results and output in Python.
_ADDRESS_SPACE_MARGIN_BYTES = 256 * MIB
#: Descriptors that the zygote may have open: its own, and a socket pair for a child at a time.
ZYGOTE_DESCRIPTORS = 64
#: Of these the kernel lets a user have so many under way in messages, all its zygotes together.
_DESCRIPTORS_UNDER_WAY = 1024
_STACK_BYTES = 8 * MIB
#: Descriptors that lead to no file: of sockets, of pipes, and of signals, which have no type.
_WITHOUT_A_PATH = {stat.S_IFSOCK, stat.S_IFIFO, 0}
_CPU_SECONDS = SPECS["cpu_ms"].maximum // 1000 + 1


class Taken(NamedTuple):
    """How one step went: taken or not, and a word about it."""

    step: str
    required: bool
    ok: bool
    detail: str


class Plan:
    """
    What the steps are given and what they leave behind.

    `calls` are those that confine a fork, for each number its socket may have.
    """

    __slots__ = ("calls", "kept_fds", "parent_pid", "program", "taken")

    def __init__(
        self,
        program: seccomp.Program,
        parent_pid: int,
        calls: dict[int, tuple[PreparedCall, ...]] | None = None,
    ) -> None:
        self.program = program
        self.parent_pid = parent_pid
        self.kept_fds: frozenset[int] = frozenset()
        self.taken: list[Taken] = []
        self.calls = calls or {}

    def report(self) -> dict[str, Any]:
        """Give how each step went, as JSON: name to {"required", "ok", "detail"}."""
        return {
            one.step: {"required": one.required, "ok": one.ok, "detail": one.detail}
            for one in self.taken
        }


class Step(NamedTuple):
    """
    One step. `act` returns a word about what it did and raises `OSError` when it cannot.

    A step that is not required is a further layer over required ones that deny the same.
    """

    name: str
    act: Callable[[Plan], str]
    required: bool = True


def _have_one_thread(_: Plan) -> str:
    # Most of what follows binds one thread only; a second one would stay free.
    try:
        count = len(os.listdir("/proc/self/task"))  # noqa: PTH208 (no pathlib: a thin zygote)
    except OSError:
        return "not told: /proc is not here"
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
        if fd <= 2 or stat.S_IFMT(mode) not in _WITHOUT_A_PATH:
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


def _own_all_writable_memory(_: Plan) -> str:
    # A page that is writable and shared would let one run speak to the next; one that is writable
    # and executable would make the filter's ban on new executable memory idle.
    for line in proc.read("maps").splitlines():
        permissions = line.split()[1]
        if "w" in permissions and ("x" in permissions or "s" in permissions):
            raise OSError(1, f"a mapping is {permissions}: {line.split(maxsplit=5)[-1]}")
    return "nothing shared, nothing executable"


def _offer_to_die_first(_: Plan) -> str:
    proc.write("oom_score_adj", "1000")
    return "before the worker, when memory is short"


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
        with suppress(OSError):  # AppArmor may grant the namespace and refuse every mount in it
            namespaces.empty_root()
            return "empty, read-only"
    namespaces.deleted_root()
    return "a deleted directory"


def _change_user(_: Plan) -> str:
    _become_unprivileged_if_root()
    user = os.geteuid()
    if user == 0:
        raise OSError(1, "stays user 0, without a capability")
    return f"user {user}"


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
    mapped_bytes = proc.mapped_bytes()
    address_space_bytes = (
        mapped_bytes + 2 * SPECS["memory_bytes"].maximum + _ADDRESS_SPACE_MARGIN_BYTES
    )
    _lower(resource.RLIMIT_AS, address_space_bytes)
    _lower(resource.RLIMIT_STACK, _STACK_BYTES)
    _lower(resource.RLIMIT_NOFILE, _DESCRIPTORS_UNDER_WAY)
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
    Step("writable memory", _own_all_writable_memory),
    Step("out of memory", _offer_to_die_first, required=False),
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


class _Limit(ctypes.Structure):
    """`struct rlimit64`: soft and hard."""

    _fields_ = (("soft", ctypes.c_uint64), ("hard", ctypes.c_uint64))


def child_calls(plan: Plan) -> dict[int, tuple[PreparedCall, ...]]:
    """
    Lay out every system call that confines a fork, in order, for each number of its socket.

    What the zygote did is inherited; this is what a process that still forks could not do.
    """
    machine = libc.machine()

    def call(step: str, name: str, *arguments: Any, expect: int | None = None) -> PreparedCall:
        return lay_out(machine, step, name, *arguments, expect=expect)

    nothing = _Limit(0, 0)
    cpu = _Limit(_CPU_SECONDS, _CPU_SECONDS)
    last = prctl.LAST_DESCRIPTOR
    session = call("session", "setsid")
    rest = (
        call("death with parent", "prctl", prctl.SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
        # The zygote may have died before that took hold.
        call("death with parent", "getppid", expect=os.getpid()),
        call("resource limits", "prlimit64", 0, resource.RLIMIT_NPROC, nothing, 0),
        call("resource limits", "prlimit64", 0, resource.RLIMIT_NOFILE, nothing, 0),
        call("resource limits", "prlimit64", 0, resource.RLIMIT_CPU, cpu, 0),
        # Last: it forbids all of the above.
        call("seccomp", "prctl", seccomp.SET_FILTER, seccomp.MODE_FILTER, plan.program, 0, 0),
    )
    return {
        keep: (
            session,
            call("descriptors", "close_range", 0, keep - 1, 0),
            call("descriptors", "close_range", keep + 1, last, 0),
            *rest,
        )
        for keep in range(3, ZYGOTE_DESCRIPTORS)
        if keep not in plan.kept_fds
    }


def _lower(limit: int, ceiling: int) -> None:
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    try:
        resource.setrlimit(limit, (ceiling, ceiling))
    except ValueError as refused:  # what Python makes of EPERM
        raise OSError(1, f"setrlimit {limit}: {refused}") from refused


def words(refused: OSError) -> str:
    """Give what the kernel answered, and about which path."""
    where = f" ({refused.filename})" if refused.filename else ""
    return f"{refused.strerror or refused}{where}"
