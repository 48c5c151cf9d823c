"""
What of the jail this host and user can do, found out by doing it.

Runs in: the `moonsand doctor` command, readiness checks; the steps run in a forked child that is
thrown away, so the caller is left as it was. Trusts: the kernel. Refuses: nothing; it only tells.
May import: stdlib, sandbox.jail, sandbox.jail_steps, sandbox.kernel.

Unlike the zygote, the child here goes on after a required step fails, to find out about the rest.
"""

from __future__ import annotations

import _socket
import json
import os
from dataclasses import asdict, dataclass

from sandbox.jail import JailUnavailable, prepare, rehearse, take
from sandbox.jail_steps import ZYGOTE_STEPS, Plan, child_calls
from sandbox.kernel import libc, seccomp, throwaway

#: The last check: everything together, in a fork of the confined process.
WHOLE_JAIL = "jailed child"

_NEEDS_KERNEL = "needs Linux 5.13 or later with Landlock enabled; see docs/jail.md"
_OUTER_FILTER = "an outer seccomp profile may refuse it: allow prctl, or use the runtime's default"

_REMEDIES = {
    "architecture": "run on a 64-bit x86_64 or aarch64 system with a 64-bit Python",
    "seccomp": "install libseccomp 2.5 or later (Debian: libseccomp2) and the package pyseccomp; "
    "the kernel needs CONFIG_SECCOMP_FILTER",
    "one thread": "start the zygote before any thread, in a process of its own",
    "descriptors": "needs Linux 5.9 or later (close_range), and /dev/null; see docs/jail.md",
    "environment": "use glibc or musl as the C library",
    "writable memory": "a library maps memory writable and executable, or writable and shared; "
    "libffi before 3.4 does the first",
    "out of memory": "optional; mount /proc writable",
    "user namespace": "optional; allow unprivileged user namespaces "
    "(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns) and "
    "unshare(2) in the container's seccomp profile",
    "network namespace": "optional; needs CAP_SYS_ADMIN or user namespaces",
    "ipc namespace": "optional; needs CAP_SYS_ADMIN or user namespaces",
    "host name namespace": "optional; needs CAP_SYS_ADMIN or user namespaces",
    "mount namespace": "optional; needs CAP_SYS_ADMIN or user namespaces",
    "resource limits": "mount /proc, and allow prlimit64(2) in the container's seccomp profile",
    "empty root": "optional; needs a mount namespace, or CAP_SYS_CHROOT and a writable /tmp",
    "unprivileged user": "optional; run the worker as an ordinary user, or grant CAP_SETUID, "
    "CAP_SETGID and CAP_KILL",
    "no new privileges": _OUTER_FILTER,
    "capabilities": "allow capset(2) and prctl(2) in the container's seccomp profile",
    "landlock": f"{_NEEDS_KERNEL}; on the kernel's command line `lsm=` must name landlock; in a "
    "container the seccomp profile must allow landlock_create_ruleset and landlock_restrict_self",
    "not dumpable": _OUTER_FILTER,
    "death with parent": _OUTER_FILTER,
}


@dataclass(frozen=True, slots=True)
class Check:
    """
    One thing the jail does, and whether it can be done here.

    `remedy` says what to do when it cannot, and is empty when it can. Without a required one
    nothing runs on this host.
    """

    name: str
    required: bool
    ok: bool
    detail: str
    remedy: str


def probe_host() -> list[Check]:
    """Take every step of the jail in a throw-away child, in order, and tell how each went."""
    trial = throwaway.run(_probe)
    try:
        told = json.loads(trial.said)
    except ValueError:
        how = f"signal {trial.killed_by}" if trial.killed_by else f"status {trial.status}"
        return [_check(WHOLE_JAIL, ok=False, detail=f"the probing process ended early: {how}")]
    return [Check(**one) for one in told]


def is_usable(checks: list[Check]) -> bool:
    """Tell whether scripts can run here: every required check is met."""
    return bool(checks) and all(check.ok for check in checks if check.required)


def _probe(end: _socket.socket) -> None:
    checks: list[Check] = []
    try:
        checks.extend(_checks(end.fileno()))
    except Exception as failure:  # noqa: BLE001 (whatever it is, the operator must hear of it)
        checks.append(_check(WHOLE_JAIL, ok=False, detail=f"{type(failure).__name__}: {failure}"))
    end.sendall(json.dumps([asdict(check) for check in checks]).encode())


def _checks(kept_fd: int) -> list[Check]:
    plan, checks = _prepared()
    plan.kept_fds = frozenset((kept_fd,))
    for step in ZYGOTE_STEPS:
        taken = take(step, plan)
        checks.append(_check(taken.step, required=taken.required, ok=taken.ok, detail=taken.detail))
    if all(check.ok for check in checks if check.required):
        checks.append(_whole_jail(plan))
    return checks


def _prepared() -> tuple[Plan, list[Check]]:
    system = f"Linux {os.uname().release}, {libc.machine()}"
    try:
        plan = prepare()
    except JailUnavailable as missing:
        # The steps do not need the filter; only the jailed child does, and is left out.
        plan = Plan(seccomp.Program(b""), os.getppid())
        return plan, [_check(missing.step, ok=False, detail=f"{missing.why} ({system})")]
    instructions = plan.program.length
    return plan, [
        _check("architecture", ok=True, detail=system),
        _check("seccomp", ok=True, detail=f"filter of {instructions} instructions compiled"),
    ]


def _whole_jail(plan: Plan) -> Check:
    try:
        plan.calls = child_calls(plan)
        rehearse(plan)
    except JailUnavailable as failed:
        remedy = _REMEDIES.get(failed.step, _OUTER_FILTER)
        return Check(WHOLE_JAIL, True, False, str(failed), remedy)
    return _check(WHOLE_JAIL, ok=True, detail="could open no file, was killed at socket(2)")


def _check(name: str, *, ok: bool, detail: str, required: bool = True) -> Check:
    remedy = "" if ok else _REMEDIES.get(name, "see docs/jail.md")
    return Check(name, required, ok, detail, remedy)
