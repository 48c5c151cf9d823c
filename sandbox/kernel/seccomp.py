"""
The system calls that a jailed child may make, and the filter made from that list.

Runs in: zygote (compiles), child (loads). Trusts: libseccomp, for the translation only.
Refuses: every call not named here: the process is killed at once (SIGSYS).
May import: stdlib; pyseccomp, inside `compile_policy` alone.

The filter is compiled once to raw BPF and loaded raw in each child, which costs one system call.
All calls of a foreign ABI (i386, x32, 32-bit ARM) kill.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any, NamedTuple

#: Architectures whose list has been tried.
ARCHITECTURES = ("x86_64", "aarch64")

#: prctl(SET_FILTER, MODE_FILTER, address of a `Program`) binds a process to a filter, for good.
SET_FILTER, MODE_FILTER = 22, 2

_PROT_EXEC = 0x4
_MAP_HUGETLB = 0x40000
_ITIMER_PROF = 2
_MADV_DONTNEED = 4
# FUTEX_WAIT is 0 and FUTEX_WAKE 1; beside that bit, PRIVATE must be set and CLOCK_REALTIME may be.
_FUTEX_OTHERS, _FUTEX_PRIVATE = 0xFFFF_FEFE, 128
# Clocks 0 to 7 are this process's and the system's; negative ids name other processes.
_OWN_CLOCKS = 0xFFFF_FFF8
# Arguments that the kernel takes as a 32-bit int; it ignores the upper half, and so does the row.
_INT = 0xFFFF_FFFF


class Argument(NamedTuple):
    """A condition: argument number *place*, under *mask*, has *value*."""

    place: int
    value: int
    mask: int = _INT


_NOT_EXECUTABLE = Argument(2, 0, _PROT_EXEC)

#: Calls a child may make; each row is one way it may make it. Of several rows for a call any will
#: do; of several conditions in a row all must hold.
ALLOWED: tuple[tuple[str, tuple[Argument, ...]], ...] = (
    # Its one socket. No recvmsg and no sendmsg: no descriptor can come in or go out.
    ("read", ()),
    ("write", ()),
    ("close", ()),
    # Memory, none of it executable. No huge pages: their pool is shared by the whole host.
    ("brk", ()),
    ("mmap", (_NOT_EXECUTABLE, Argument(3, 0, _MAP_HUGETLB))),
    ("mprotect", (_NOT_EXECUTABLE,)),
    ("munmap", ()),
    ("mremap", ()),
    ("madvise", (Argument(2, _MADV_DONTNEED),)),
    # One thread: its locks are free, and pthread_once(3) wakes nobody. Private ones only: on a
    # page of a shared library, another would reach every process that maps the same file.
    ("futex", (Argument(1, _FUTEX_PRIVATE, _FUTEX_OTHERS),)),
    # Clocks, where the vDSO has to ask the kernel. Another process's would tell how busy it is.
    ("clock_gettime", (Argument(0, 0, _OWN_CLOCKS),)),
    ("gettimeofday", ()),
    ("time", ()),
    # The CPU timer of a run, and its own limits: a hard limit can only be lowered.
    ("setitimer", (Argument(0, _ITIMER_PROF),)),
    ("prlimit64", (Argument(0, 0),)),
    ("getrandom", ()),
    # A pause that watches no descriptor; the parent's deadline ends it.
    ("poll", (Argument(1, 0),)),
    ("ppoll", (Argument(1, 0),)),
    ("exit_group", ()),
)

#: Calls that Python and the C library make to look around. They answer "not permitted",
#: so that a late import or a question about the terminal is an ordinary error and no death.
PROBES: tuple[str, ...] = (
    "open",
    "openat",
    "openat2",
    "stat",
    "lstat",
    "fstat",
    "newfstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getcwd",
    "lseek",
    "ioctl",
    "fcntl",
    "sysinfo",
    "sched_getaffinity",
    "writev",
)


class CompilerMissing(Exception):
    """libseccomp (libseccomp.so.2) or pyseccomp is not installed."""


def compile_policy() -> bytes:
    """
    Translate `ALLOWED` and `PROBES` to raw BPF for this machine: 8 bytes an instruction.

    To be called in a process that is thrown away: it loads libseccomp and alters `ctypes.util`.

    Raises:
        CompilerMissing: the library is not there.
        OSError: libseccomp refused a row.
    """
    compiler = _compiler()
    policy = compiler.SyscallFilter(compiler.KILL_PROCESS)
    policy.set_attr(compiler.Attr.ACT_BADARCH, compiler.KILL_PROCESS)
    # A binary tree: on loading, the kernel tries the filter on each of some 470 numbers.
    policy.set_attr(compiler.Attr.CTL_OPTIMIZE, 2)
    for name, conditions in ALLOWED:
        if _exists(compiler, name):
            policy.add_rule(
                compiler.ALLOW,
                name,
                *(compiler.Arg(c.place, compiler.MASKED_EQ, c.mask, c.value) for c in conditions),
            )
    for name in PROBES:
        if _exists(compiler, name):
            policy.add_rule(compiler.ERRNO(errno.EPERM), name)
    return _exported(policy)


def _exported(policy: Any) -> bytes:
    # A pipe holds 64 KiB, the filter is about one; a file would need a writable directory.
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as reading:  # noqa: PTH123 (a descriptor, not a path)
        with open(write_end, "wb") as writing:  # noqa: PTH123
            policy.export_bpf(writing)
        return reading.read()


def _compiler() -> Any:
    # pyseccomp asks ctypes.util, which starts ldconfig or a C compiler to answer; a slim image
    # has neither. The names are fixed by the libraries' ABI.
    import ctypes.util  # noqa: PLC0415 (not in the zygote: see tests/unit/test_thin_zygote.py)

    known = {"c": None, "seccomp": "libseccomp.so.2"}
    setattr(ctypes.util, "find_library", known.get)  # noqa: B010 (no type fits its overloads)
    try:
        import pyseccomp  # noqa: PLC0415 (must not be loaded in the zygote itself)
    except (ImportError, OSError, RuntimeError) as missing:
        raise CompilerMissing(str(missing)) from missing
    return pyseccomp


def _exists(compiler: Any, name: str) -> bool:
    """Tell whether this architecture has the call; aarch64 never had open(2), stat(2) and kin."""
    try:
        return bool(compiler.resolve_syscall(compiler.Arch.NATIVE, name) >= 0)
    except ValueError:
        return False


class Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h: raw BPF laid out in memory, ready to load."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    def __init__(self, instructions: bytes) -> None:
        self.buffer = ctypes.create_string_buffer(instructions, len(instructions))
        super().__init__(len(instructions) // 8, ctypes.addressof(self.buffer))
