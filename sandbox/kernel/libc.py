"""
The C library, loaded once, and the one way to call it.

Runs in: zygote, child, doctor. Trusts: the kernel. Refuses: nothing. May import: stdlib.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)


def function(name: str, *argument_types: Any) -> Any:
    """
    Give a C function that returns an int, with its argument types set.

    Raises:
        OSError: (when called through `checked`) the C library has no such function.
    """
    try:
        found = _LIBC[name]  # a private copy: argument types set here bind nobody else
    except AttributeError:

        def missing(*_: Any) -> int:
            ctypes.set_errno(38)  # ENOSYS
            return -1

        return missing
    found.argtypes = argument_types
    found.restype = ctypes.c_int
    return found


def system_call(number: int, *argument_types: Any) -> Any:
    """Give a raw system call as a function; for those the C library may not know."""
    raw = _LIBC["syscall"]
    raw.argtypes = (ctypes.c_long, *argument_types)
    raw.restype = ctypes.c_long
    wrapped = ctypes.c_long(number)
    return lambda *arguments: raw(wrapped, *arguments)


def checked(result: int, what: str) -> int:
    """
    Pass a result on.

    Raises:
        OSError: the result is -1; the text is *what* and the kernel's word for the error.
    """
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def machine() -> str:
    """Give the architecture that this interpreter's system calls use: `x86_64`, `aarch64` ..."""
    name = os.uname().machine
    return name if sys.maxsize > 2**32 else f"{name} (32 bit)"


def environment_strings() -> list[int]:
    """Give the addresses of the C environment's strings."""
    block = ctypes.POINTER(ctypes.c_void_p).in_dll(_LIBC, "environ")
    addresses: list[int] = []
    while block and (address := block[len(addresses)]):
        addresses.append(address)
    return addresses


_clearenv = function("clearenv")


def wipe_environment() -> None:
    """
    Overwrite every environment string with zeros where it lies, then forget the environment.

    Unsetting alone leaves the text on the initial stack, which a fork inherits.
    """
    for address in environment_strings():
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
    checked(_clearenv(), "clearenv")
