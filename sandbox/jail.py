"""
The jail: ordered steps that take everything away from the process that runs a script.

Runs in: zygote (`prepare`, `confine_zygote`), each fork of it (`confine_child`).
Trusts: the kernel, and the code that ran before it in the zygote.
Refuses: to let anything run when a required step cannot be taken (`JailUnavailable`).
May import: stdlib, sandbox.jail_steps, sandbox.kernel.

What is inherited by a fork and leaves the zygote able to work is done once; the rest in each
fork, by a few system calls laid out beforehand. `sandbox.jail_steps` has both lists. What to know
when writing code that runs inside:

- Import, open and load everything before `confine_zygote`; afterwards there is no file system.
- In a child, read and write its socket with `os.read` and `os.write` on the bare descriptor. The
  calls behind `socket.recv`, `send`, `select` and `poll` of a descriptor kill. Leave by
  `os._exit`.
- Descriptors 0, 1 and 2 are /dev/null in the zygote and closed in a child, where nothing can
  open a new one: a stray write to standard error fails with EBADF.
- `RLIMIT_NOFILE` is 0 in a child, and `RLIMIT_AS` and `RLIMIT_CPU` are at the maxima of
  `sandbox.limits`; a run lowers the last two further.
- The zygote must be forked by a thread that lives as long as it may: it is killed with it.
"""

from __future__ import annotations

import _socket
import errno
import os
import signal
from collections.abc import Sequence

from sandbox.jail_steps import ZYGOTE_STEPS, Plan, Step, Taken, child_calls, words
from sandbox.kernel import libc, prepared, seccomp, throwaway
from sandbox.kernel.prepared import lay_out

__all__ = ["JailUnavailable", "Plan", "confine_child", "confine_zygote", "prepare"]


class JailUnavailable(Exception):
    """
    A required step cannot be taken here; nothing may run.

    `step` is its name in the two lists, `why` what the kernel answered.
    """

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"{step}: {why}")
        self.step = step
        self.why = why


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
    return Plan(program=seccomp.Program(_compiled_policy()), parent_pid=os.getppid())


def confine_zygote(plan: Plan, keep_fds: Sequence[int]) -> None:
    """
    Confine this process, then prove it on a throw-away fork: every step of both lists.

    *keep_fds* are the sockets or pipes that it keeps. It can still fork, make socket pairs and
    pass descriptors over them, poll, and wait for its children; it may have 64 open at a time.

    Raises:
        JailUnavailable: a required step failed; this process must end without forking a run.
    """
    plan.kept_fds = frozenset(keep_fds)
    for step in ZYGOTE_STEPS:
        taken = take(step, plan)
        if step.required and not taken.ok:
            raise JailUnavailable(step.name, taken.detail)
    plan.calls = child_calls(plan)
    _warm_up(plan)
    rehearse(plan)


def confine_child(plan: Plan, keep_fd: int) -> None:
    """
    Confine this fork of the zygote; *keep_fd*, its socket, is all it keeps.

    Raises:
        JailUnavailable: a step failed; this process must end without running anything.
    """
    calls = plan.calls.get(keep_fd)
    if calls is None:
        raise JailUnavailable("descriptors", f"descriptor {keep_fd} is not a child's to keep")
    failure = prepared.perform(calls)
    if failure is not None:
        raise JailUnavailable(failure.step, failure.why)


def _warm_up(plan: Plan) -> None:
    """
    Go through `confine_child` until the interpreter specialised it and the linker bound its calls.

    Both write to memory the first times; done here, no fork has to copy those pages.
    """
    harmless = lay_out(libc.machine(), "warm-up", "getppid", expect=os.getppid())
    idle = Plan(plan.program, plan.parent_pid, calls=dict.fromkeys(plan.calls, (harmless,) * 2))
    for fd in plan.calls:
        confine_child(idle, fd)


def take(step: Step, plan: Plan) -> Taken:
    """Take one step of the zygote and note in the plan how it went."""
    try:
        taken = Taken(step.name, step.required, True, step.act(plan))
    except OSError as refused:
        taken = Taken(step.name, step.required, False, words(refused))
    plan.taken.append(taken)
    return taken


def rehearse(plan: Plan) -> None:
    """
    Confine a throw-away fork and see it refused: a file politely, a socket by death.

    Raises:
        JailUnavailable: a step of the child failed in the fork, or the filter does not bite.
    """
    trial = throwaway.run(lambda end: _act_out(plan, end))
    step, _, why = trial.said.decode(errors="replace").partition("\n")
    if step != "confined":
        raise JailUnavailable(step or "rehearsal", why or "the forked child said nothing")
    if trial.killed_by != signal.SIGSYS:
        raise JailUnavailable("seccomp", "the filter was loaded, yet socket(2) did not kill")


def _act_out(plan: Plan, end: _socket.socket) -> None:
    fd = end.detach()
    try:
        confine_child(plan, fd)
    except JailUnavailable as refused:
        os.write(fd, f"{refused.step}\n{refused.why}".encode())
        return
    os.write(fd, _what_open_says())
    _socket.socket()


def _what_open_says() -> bytes:
    try:
        os.open("/", os.O_RDONLY)
    except OSError as refused:
        if refused.errno == errno.EPERM:  # Landlock would say EACCES, the limit EMFILE
            return b"confined\n"
    return b"seccomp\nthe filter was loaded, yet it let openat(2) pass"


def _compiled_policy() -> bytes:
    trial = throwaway.run(_send_policy)
    verdict, _, content = trial.said.partition(b"\n")
    if verdict != b"compiled" or not content:
        why = content.decode(errors="replace") or "libseccomp ended the process that compiled"
        raise JailUnavailable("seccomp", why)
    return content


def _send_policy(end: _socket.socket) -> None:
    try:
        end.sendall(b"compiled\n" + seccomp.compile_policy())
    except (seccomp.CompilerMissing, OSError) as failure:
        end.sendall(b"failed\nno filter could be compiled: " + str(failure).encode())
