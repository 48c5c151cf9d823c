"""
Namespaces of their own: users, network, mounts (with an empty root), IPC and host name.

Runs in: zygote, doctor. Trusts: the kernel. Refuses: nothing. May import: stdlib.

All of it is a further layer: where a host refuses namespaces, Landlock and the system call
filter deny the same files and sockets.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from sandbox.kernel import proc
from sandbox.kernel.libc import checked, function

USER = 0x10000000
NETWORK = 0x40000000
MOUNT = 0x00020000
IPC = 0x08000000
HOST_NAME = 0x04000000

_MS_RDONLY = 0x1
_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_REMOUNT = 0x20
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_MNT_DETACH = 2

#: Directories that any Linux has; one serves as a place to mount the empty root on.
_MOUNT_POINTS = ("/tmp", "/mnt", "/proc", "/dev")  # noqa: S108 (mounted over, never written to)

_TEXT = ctypes.c_char_p
_unshare = function("unshare", ctypes.c_int)
_mount = function("mount", _TEXT, _TEXT, _TEXT, ctypes.c_ulong, _TEXT)
_umount = function("umount2", _TEXT, ctypes.c_int)
_pivot_root = function("pivot_root", _TEXT, _TEXT)


def leave(kind: int) -> None:
    """
    Leave one namespace for a new one.

    Raises:
        OSError: not allowed here, or not built into this kernel.
    """
    checked(_unshare(kind), "unshare")


def become_user(user_id: int, group_id: int) -> None:
    """
    Enter a new user namespace, seen inside as *user_id* and *group_id*.

    The process must be dumpable, or it may not write its own maps.

    Raises:
        OSError: user namespaces are refused here. Nothing has changed if unshare(2) failed.
    """
    outer_user, outer_group = os.geteuid(), os.getegid()
    leave(USER)
    with suppress(FileNotFoundError):  # kernels before 3.19 have none
        proc.write("setgroups", "deny")
    proc.write("uid_map", f"{user_id} {outer_user} 1")
    proc.write("gid_map", f"{group_id} {outer_group} 1")


def empty_root() -> None:
    """
    Make an empty, read-only root the only mount there is. Needs a mount namespace of its own.

    Raises:
        OSError: mounting is refused here.
    """
    # Without this, mounts made here would show on the host where propagation is shared.
    checked(_mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount MS_PRIVATE")
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    place = next((path for path in _MOUNT_POINTS if os.path.isdir(path)), "/")  # noqa: PTH112
    size = b"size=4k,nr_inodes=2,mode=0555"
    checked(_mount(b"tmpfs", place.encode(), b"tmpfs", flags, size), "mount tmpfs")
    os.chdir(place)
    # pivot_root(".", ".") stacks the old root over the new one, so that "." is what to detach.
    if _pivot_root(b".", b".") == 0:
        checked(_umount(b".", _MNT_DETACH), "umount2")
    else:
        os.chroot(".")  # an initramfs cannot be pivoted away from
    os.chdir("/")
    checked(_mount(None, b"/", None, flags | _MS_REMOUNT | _MS_RDONLY, None), "mount MS_RDONLY")
    if os.listdir("/"):  # noqa: PTH208
        raise OSError(1, "the new root is not empty")


def deleted_root() -> None:
    """
    Make a deleted directory the root: empty, and nothing can be created in it.

    For hosts that refuse mounts but grant CAP_SYS_CHROOT, as Docker's default does.

    Raises:
        OSError: chroot(2) is refused, or there is nowhere to make the directory.
    """
    # Not by tempfile: it loads random, whose reseeding after every fork costs each run more than
    # the rest of the jail.
    directory = f"/tmp/moonsand-root-{os.urandom(8).hex()}"  # noqa: S108 (exclusive)
    os.mkdir(directory, mode=0o700)  # noqa: PTH102 (see sandbox.kernel.proc)
    try:
        os.chdir(directory)
    finally:
        os.rmdir(directory)  # noqa: PTH106
    os.chroot(".")
    os.chdir("/")
