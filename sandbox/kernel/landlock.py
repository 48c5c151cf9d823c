"""
Landlock: this process and all it forks may open no file, reach no port, signal nobody outside.

Runs in: zygote, doctor. Trusts: the kernel. Refuses: nothing. May import: stdlib.

A ruleset that *handles* an access and has no rule for it denies it everywhere. Each ABI version
added accesses; what a kernel does not know yet is not asked of it. ABI 1 (files) is all the jail
requires, the rest is refused by the system call filter as well.
"""

from __future__ import annotations

import ctypes
import os

from sandbox.kernel.libc import checked, system_call

_CREATE_RULESET_VERSION = 1

# (first ABI, how many access bits are known from it on), see linux/landlock.h
_FILE_BITS = ((1, 13), (2, 14), (3, 15), (5, 16))
_NETWORK_ABI, _NETWORK_BITS = 4, 2
_SCOPE_ABI, _SCOPE_BITS = 6, 2


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


# The three numbers are the same on every architecture.
_create_ruleset = system_call(
    444, ctypes.POINTER(_RulesetAttributes), ctypes.c_size_t, ctypes.c_uint32
)
_restrict_self = system_call(446, ctypes.c_int, ctypes.c_uint32)


def abi_version() -> int:
    """
    Give the version of Landlock that the kernel speaks (1 or more).

    Raises:
        OSError: no Landlock: not built in, not enabled at boot, or refused by an outer filter.
    """
    return checked(_create_ruleset(None, 0, _CREATE_RULESET_VERSION), "landlock_create_ruleset")


def deny_everything() -> int:
    """
    Deny all that Landlock can deny, for good; give the ABI version used.

    Needs no_new_privs (or CAP_SYS_ADMIN) before. Open descriptors are not affected.

    Raises:
        OSError: no Landlock here, or it was refused.
    """
    version = abi_version()
    attributes, size = _attributes(version)
    ruleset = checked(_create_ruleset(ctypes.byref(attributes), size, 0), "landlock_create_ruleset")
    try:
        checked(_restrict_self(ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)
    return version


def _attributes(version: int) -> tuple[_RulesetAttributes, int]:
    """Give the widest denial for an ABI version, and how many bytes of it that version reads."""
    file_bits = max(bits for first, bits in _FILE_BITS if version >= first)
    attributes = _RulesetAttributes(handled_access_fs=(1 << file_bits) - 1)
    size = 8
    if version >= _NETWORK_ABI:
        attributes.handled_access_net = (1 << _NETWORK_BITS) - 1
        size = 16
    if version >= _SCOPE_ABI:
        attributes.scoped = (1 << _SCOPE_BITS) - 1
        size = 24
    return attributes, size
