"""The compiled filter against its table: every call, argument and ABI is answered as written."""

from __future__ import annotations

import errno
import struct
from functools import cache

import pyseccomp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.kernel import libc, seccomp, throwaway

pytestmark = pytest.mark.jail

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[libc.machine()]
_FOREIGN_ARCH = 0x40000003  # i386
_KILL, _ALLOW = pyseccomp.KILL_PROCESS, pyseccomp.ALLOW
_X32 = 0x40000000

_words = st.one_of(
    st.integers(0, 300),
    st.sampled_from([seccomp._PROT_EXEC, seccomp._MAP_HUGETLB, 128, 129, 130, 0x180, 0xFFFFFFFE]),
    st.integers(0, 2**64 - 1),
).flatmap(lambda low: st.sampled_from([low, low | 1 << 32, low | 1 << 63]))
_arguments = st.tuples(*[_words] * 6)


@cache
def _filter() -> tuple[tuple[int, int, int, int], ...]:
    raw = throwaway.run(lambda end: end.sendall(seccomp.compile_policy())).said
    return tuple(struct.iter_unpack("HBBI", raw))


@cache
def _numbers() -> dict[int, str]:
    names = (*(name for name, _ in seccomp.ALLOWED), *seccomp.PROBES)
    return {pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name): name for name in names}


def _answer(arch: int, number: int, arguments: tuple[int, ...]) -> int:
    """Run the filter as the kernel would, on one `struct seccomp_data`."""
    data = struct.pack("IIQ6Q", number, arch, 0, *arguments)
    place, accumulator = 0, 0
    while True:
        code, if_true, if_false, constant = _filter()[place]
        place += 1
        if code == 0x06:  # return
            return constant
        if code == 0x20:  # load a word
            accumulator = struct.unpack_from("I", data, constant)[0]
        elif code == 0x54:  # and
            accumulator &= constant
        elif code == 0x05:  # jump
            place += constant
        else:
            holds = {
                0x15: accumulator == constant,
                0x25: accumulator > constant,
                0x35: accumulator >= constant,
                0x45: bool(accumulator & constant),
            }[code]
            place += if_true if holds else if_false


def _expected(number: int, arguments: tuple[int, ...]) -> int:
    name = _numbers().get(number)
    for allowed, conditions in seccomp.ALLOWED:
        if allowed == name and all(
            arguments[one.place] & one.mask == one.value for one in conditions
        ):
            return int(_ALLOW)
    return int(pyseccomp.ERRNO(errno.EPERM)) if name in seccomp.PROBES else int(_KILL)


@given(st.integers(0, 600), _arguments)
def test_any_call_is_answered_as_the_table_says(number: int, arguments: tuple[int, ...]) -> None:
    """For any number and arguments, upper halves included, the filter does what the table says."""
    assert _answer(_AUDIT_ARCH, number, arguments) == _expected(number, arguments)


@given(st.sampled_from(sorted({name for name, _ in seccomp.ALLOWED})), _arguments)
def test_allowed_calls_are_answered_as_the_table_says(
    name: str, arguments: tuple[int, ...]
) -> None:
    """The rows with conditions hold for the calls that have them, each tried often."""
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number >= 0:
        assert _answer(_AUDIT_ARCH, number, arguments) == _expected(number, arguments)


@given(st.integers(0, 600), _arguments)
def test_foreign_abis_have_no_call_at_all(number: int, arguments: tuple[int, ...]) -> None:
    """Whatever the number, an i386 call kills, and so does an x32 one."""
    assert _answer(_FOREIGN_ARCH, number, arguments) == _KILL
    if libc.machine() == "x86_64":
        assert _answer(_AUDIT_ARCH, number | _X32, arguments) == _KILL
