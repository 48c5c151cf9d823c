"""
A process that stands in for the zygote, whose forks try what they should not be able to do.

Run as a script by `test_jail`: `jail_room.py FD REQUEST`. The answer is JSON on descriptor FD.
The request: `situation`, `attempts` (system calls for jailed children), `errands` (names of
functions below, for jailed children or, with a leading `zygote `, for forks of the zygote that
are not), `doctor` (ask the doctor instead), `refuse` (system calls that an outer filter refuses),
`broken` (a name in `BREAKAGES`, or a step that fails).
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import pyseccomp

from sandbox import doctor, jail, jail_steps
from sandbox.kernel import capabilities, libc, seccomp, throwaway

_SOME_USER = 12345
_NEW_USER = 0x10000000
#: What Docker leaves a container by default.
_DOCKER_CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
_REFUSED_BY_DOCKER = ("unshare", "mount", "umount2", "pivot_root", "setns", "bpf", "keyctl")

_call = ctypes.CDLL(None, use_errno=True)["syscall"]
_call.restype = ctypes.c_long
_LEAKED = socket.socketpair()


# ---- host situations ----


def enter(situation: str) -> None:
    """Become what a zygote may find itself to be on some host."""
    if situation.startswith("container"):
        _install_outer_filter(
            [(name, errno.EPERM, []) for name in _REFUSED_BY_DOCKER]
            + [("clone", errno.EPERM, [(0, _NEW_USER, _NEW_USER)]), ("clone3", errno.ENOSYS, [])]
        )
    if situation == "container, root without capabilities":
        capabilities.clear()
    elif situation == "container, root with default capabilities":
        _keep_capabilities(_DOCKER_CAPABILITIES)
    elif situation in {"ordinary user", "container, ordinary user"} and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_SOME_USER, _SOME_USER, _SOME_USER)
        os.setresuid(_SOME_USER, _SOME_USER, _SOME_USER)


def _install_outer_filter(rows: list[tuple[str, int, list[Any]]]) -> None:
    outer = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    # Docker's own filter comes without no_new_privs; whoever is root can do that here too.
    outer.set_attr(pyseccomp.Attr.CTL_NNP, int(os.geteuid() != 0))
    for name, number, conditions in rows:
        arguments = [
            pyseccomp.Arg(index, pyseccomp.MASKED_EQ, mask, value)
            for index, mask, value in conditions
        ]
        outer.add_rule(pyseccomp.ERRNO(number), name, *arguments)
    outer.load()


def _keep_capabilities(kept: tuple[int, ...]) -> None:
    drop = ctypes.CDLL(None, use_errno=True)["prctl"]
    for capability in range(41):
        if capability not in kept:
            assert drop(24, capability, 0, 0, 0) == 0
    bits = sum(1 << capability for capability in kept)
    words = (ctypes.c_uint32 * 6)(bits, bits, 0, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert ctypes.CDLL(None)["capset"](header, words) == 0


# ---- what may be broken ----


def _start_a_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def _hide_the_compiler() -> None:
    sys.modules["pyseccomp"] = None  # type: ignore[assignment]


def _be_another_machine() -> None:
    libc.machine = lambda: "riscv64"


def _allow_everything() -> None:
    allow = bytes((6, 0, 0, 0, 0, 0, 0xFF, 0x7F))  # BPF_RET, SECCOMP_RET_ALLOW
    seccomp.compile_policy = lambda: allow


_MAPPINGS: list[mmap.mmap] = []


def _share_memory() -> None:
    _MAPPINGS.append(mmap.mmap(-1, mmap.PAGESIZE))  # shared, by Python's default


def _map_writable_code() -> None:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    _MAPPINGS.append(mmap.mmap(-1, mmap.PAGESIZE, flags=private, prot=everything))


BREAKAGES: dict[str, Callable[[], None]] = {
    "a second thread": _start_a_thread,
    "shared writable memory": _share_memory,
    "writable executable memory": _map_writable_code,
    "no compiler": _hide_the_compiler,
    "another machine": _be_another_machine,
    "a filter that allows everything": _allow_everything,
}


def _break(what: str) -> None:
    if what in BREAKAGES:
        BREAKAGES[what]()
        return

    def refuse(_: jail_steps.Plan) -> str:
        raise OSError(1, "broken on purpose")

    jail.ZYGOTE_STEPS = tuple(  # type: ignore[attr-defined]
        jail_steps.Step(step.name, refuse, step.required) if step.name == what else step
        for step in jail_steps.ZYGOTE_STEPS
    )


# ---- errands: more than one system call ----

_ENVIRONMENT = [(address, len(ctypes.string_at(address))) for address in libc.environment_strings()]
_PAGE = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
_PAGE.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (i386 getpid); int 0x80; ret
_CODE = ctypes.addressof(ctypes.c_char.from_buffer(_PAGE))
_I386_GETPID = ctypes.CFUNCTYPE(ctypes.c_int)(_CODE)
ctypes.CDLL(None)["mprotect"](ctypes.c_void_p(_CODE), mmap.PAGESIZE, 5)  # read, execute


def _open_descriptors(end: int) -> list[int]:
    """Give every descriptor that can be read from, `end` left out."""
    buffer = ctypes.create_string_buffer(1)
    read = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, "read")
    found = []
    for fd in range(1024):
        answer = _call(ctypes.c_long(read), ctypes.c_long(fd), buffer, ctypes.c_long(0))
        if fd != end and not (answer == -1 and ctypes.get_errno() == errno.EBADF):
            found.append(fd)
    return found


def _environment(_: int) -> dict[str, Any]:
    left = b"".join(ctypes.string_at(address, length) for address, length in _ENVIRONMENT)
    return {"names": list(os.environ), "bytes": len(left), "non_zero": len(left.strip(b"\0"))}


def _limits(_: int) -> dict[str, list[int]]:
    names = ("CORE", "NPROC", "FSIZE", "NOFILE", "MEMLOCK", "MSGQUEUE", "CPU", "AS", "STACK")
    return {name: list(resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))) for name in names}


def _raise_a_limit(_: int) -> str:
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (100_000, 100_000))
    except ValueError as refused:
        return str(refused)
    return "raised"


def _work(_: int) -> int:
    """Do what a script's run does to the kernel: grow and shrink memory, lock, read clocks."""
    blocks = [bytearray(1 << 20) for _ in range(64)]
    del blocks[::2]
    lock = threading.Lock()
    with lock:
        texts = [str(number) * 20 for number in range(100_000)]
    clocks = (time.monotonic(), time.time(), time.process_time())
    return len(texts) * all(clocks)


def _import_late(_: int) -> str:
    try:
        import colorsys  # noqa: F401, PLC0415
    except ImportError as refused:
        return type(refused).__name__
    return "imported"


def _i386_call(_: int) -> int:
    return int(_I386_GETPID())


def _list_root(_: int) -> str:
    try:
        return f"{len(os.listdir('/'))} entries"  # noqa: PTH208
    except OSError as refused:
        return errno.errorcode[refused.errno or 0]


def _interfaces(_: int) -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _loopback_is_up(_: int) -> bool:
    with socket.socket() as listening:
        try:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            socket.create_connection(listening.getsockname(), timeout=1).close()
        except OSError:
            return False
    return True


def _identity(_: int) -> dict[str, Any]:
    held = capabilities.read()
    return {
        "users": list(os.getresuid()),
        "groups": [*os.getresgid(), *os.getgroups()],
        "effective": held.effective,
        "permitted": held.permitted,
        "inheritable": held.inheritable,
        "ambient": held.ambient,
        "bounding": held.bounding,
    }


def _regain(_: int) -> list[str]:
    """Try the ways back to privilege that the zygote itself, without a filter, still has."""
    tried: list[str] = []
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    if ctypes.CDLL(None)["capset"](header, words) == 0:
        tried.append("capset")
    ways: tuple[tuple[str, Callable[[], None]], ...] = (
        ("setgroups", lambda: os.setgroups([0])),
        ("chroot", lambda: os.chroot("/")),
        ("kill", lambda: os.kill(1, 0)),
        ("tmp", lambda: os.mkdir("/tmp/moonsand")),  # noqa: S108, PTH102
    )
    for name, act in ways:
        try:
            act()
            tried.append(name)
        except OSError:
            continue
    return tried


ERRANDS: dict[str, Callable[[int], Any]] = {
    "open descriptors": _open_descriptors,
    "environment": _environment,
    "limits": _limits,
    "raise a limit": _raise_a_limit,
    "work": _work,
    "import late": _import_late,
    "i386 call": _i386_call,
    "zygote list root": _list_root,
    "zygote interfaces": _interfaces,
    "zygote loopback is up": _loopback_is_up,
    "zygote identity": _identity,
    "zygote regain": _regain,
}


# ---- children ----


def _attempt(number: int, arguments: list[Any], _: int) -> dict[str, Any]:
    """Make one system call; a text is passed as its address."""
    prepared = [
        ctypes.c_char_p(one.encode()) if isinstance(one, str) else ctypes.c_long(one)
        for one in arguments
    ]
    answer = _call(ctypes.c_long(number), *prepared)
    if answer == -1:
        return {"errno": errno.errorcode[ctypes.get_errno()]}
    return {"returned": answer}


def _try(plan: jail.Plan, act: Callable[[int], Any], *, confined: bool) -> dict[str, Any]:
    def child(end: _socket.socket) -> None:
        fd = end.detach()
        if confined:
            jail.confine_child(plan, fd)
        os.write(fd, json.dumps(act(fd)).encode())
        os._exit(0)

    trial = throwaway.run(child)
    told: dict[str, Any] = {"said": json.loads(trial.said) if trial.said else None}
    return told | {"killed_by": trial.killed_by, "status": trial.status}


def _linger(plan: jail.Plan, report: socket.socket) -> None:
    """Send this process's and a jailed child's pidfd, then wait for ever, as both would."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        fd = theirs.detach()
        jail.confine_child(plan, fd)
        os.write(fd, b"!")
        os.read(fd, 1)
        os._exit(0)
    ours.recv(1)
    socket.send_fds(report, [b"!"], [os.pidfd_open(os.getpid()), os.pidfd_open(child)])
    os.waitpid(child, 0)


def _build(request: dict[str, Any], keep: tuple[int, ...]) -> jail.Plan:
    """Break what is to be broken, and build the jail."""
    if request.get("refuse"):
        _install_outer_filter(request["refuse"])
    if request.get("broken"):
        _break(request["broken"])
    plan = jail.prepare()
    jail.confine_zygote(plan, keep)
    return plan


def _answer(report: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    if request.get("doctor"):
        if request["refuse"]:
            _install_outer_filter(request["refuse"])
        return {"checks": [asdict(check) for check in doctor.probe_host()]}
    try:
        plan = _build(request, (report.fileno(), _LEAKED[0].fileno()))
    except jail.JailUnavailable as refused:
        return {"unavailable": refused.step, "why": refused.why}
    if request.get("linger"):
        _linger(plan, report)
    attempts = {
        name: _try(plan, partial(_attempt, number, arguments), confined=True)
        for name, number, arguments in request.get("attempts", [])
    }
    errands = {
        name: _try(plan, ERRANDS[name], confined=not name.startswith("zygote "))
        for name in request.get("errands", [])
    }
    return {"report": plan.report(), "attempts": attempts, "errands": errands}


def main(fd: int, request: dict[str, Any]) -> None:
    """Do what the request asks, and answer."""
    report = socket.socket(fileno=fd)
    enter(request["situation"])
    if request.get("linger") and (zygote := os.fork()):
        os.waitpid(zygote, 0)  # this process stands in for the worker
        return
    try:
        answer = _answer(report, request)
    except BaseException:  # noqa: BLE001 (the test must see it; standard error is closed by now)
        answer = {"crashed": traceback.format_exc()}
    report.sendall(json.dumps(answer).encode())
    os._exit(0)  # a second thread may still be there, on purpose


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
