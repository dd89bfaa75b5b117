# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters, run by a small BPF interpreter over every call number there is.

The numbers come from the kernel headers (Debian package linux-libc-dev, a dependency of these tests):
unistd_64.h for x86_64, asm-generic/unistd.h for aarch64. Both are checked on any machine.
"""

from __future__ import annotations

import pathlib
import re
import struct

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import seccomp
from hypothesis import given, settings
from hypothesis import strategies as st

HEADERS = {
    "x86_64": pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": pathlib.Path("/usr/include/asm-generic/unistd.h"),
}
DEFINITION = re.compile(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\s*$", re.MULTILINE)
MACHINES = ["x86_64", "aarch64"]
ERRNO_EPERM = 0x00050000 | 1
# What the design forbids by name; the loop over all numbers would notice them too, but not say why.
FORBIDDEN = (
    "open openat openat2 creat socket socketpair connect clone clone3 fork vfork execve execveat kill tkill tgkill ptrace mount "
    "umount2 unshare setns bpf io_uring_setup keyctl add_key perf_event_open process_vm_readv process_vm_writev pidfd_open "
    "pidfd_getfd prctl seccomp setuid setresuid chroot pivot_root ioctl fcntl dup dup2 dup3 prlimit64 setrlimit userfaultfd memfd_create"
).split()


def header(machine: str) -> dict[str, int]:
    """Call name to number."""
    path = HEADERS[machine]
    if not path.exists():
        pytest.skip(f"{path} is missing: install linux-libc-dev")
    numbers = {name: int(number) for name, number in DEFINITION.findall(path.read_text(encoding="utf-8"))}
    for name in ("syscalls", "arch_specific_syscall"):
        numbers.pop(name, None)
    assert len(numbers) > 250
    return numbers


def interpret(program: bytes, number: int, architecture: int) -> int:
    """Run a classic BPF program over a struct seccomp_data and return its verdict."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *[0] * 6)
    lines = [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]
    accumulator, counter = 0, 0
    while True:
        code, yes, no, operand = lines[counter]
        counter += 1
        if code == 0x20:  # load a word
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == 0x15:  # jump if equal
            counter += yes if accumulator == operand else no
        elif code == 0x35:  # jump if greater or equal
            counter += yes if accumulator >= operand else no
        else:
            assert code == 0x06, f"unknown instruction {code:#x}"
            return operand


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_in_the_headers_gets_its_verdict(machine: str) -> None:
    program, architecture = seccomp.assemble(machine), seccomp.AUDIT_ARCHITECTURE[machine]
    names = {number: name for name, number in header(machine).items()}
    allowed = {name for name, row in seccomp.ALLOWED.items() if row[MACHINES.index(machine)] >= 0}
    assert allowed <= set(names.values())
    for number in range(2048):
        wanted = seccomp.ALLOW if names.get(number) in allowed else ERRNO_EPERM
        assert interpret(program, number, architecture) == wanted, (number, names.get(number))


@pytest.mark.parametrize("machine", MACHINES)
@settings(max_examples=200, deadline=None)
@given(number=st.integers(0, 0xFFFFFFFF))
def test_any_other_number_is_refused(machine: str, number: int) -> None:
    verdict = interpret(seccomp.assemble(machine), number, seccomp.AUDIT_ARCHITECTURE[machine])
    assert verdict == (seccomp.ALLOW if number in seccomp.numbers(machine) else ERRNO_EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_x32_calls_are_refused(machine: str) -> None:
    program, architecture = seccomp.assemble(machine), seccomp.AUDIT_ARCHITECTURE[machine]
    for number in range(1024):
        assert interpret(program, number | seccomp.X32, architecture) == ERRNO_EPERM


@pytest.mark.parametrize("machine", MACHINES)
@settings(max_examples=100, deadline=None)
@given(architecture=st.one_of(st.sampled_from([0x40000003, 0x40000028, 0xC000003E, 0xC00000B7, 0]), st.integers(0, 0xFFFFFFFF)))
def test_another_architecture_kills(machine: str, architecture: int) -> None:
    if architecture != seccomp.AUDIT_ARCHITECTURE[machine]:
        program = seccomp.assemble(machine)
        assert all(interpret(program, number, architecture) == seccomp.KILL for number in seccomp.numbers(machine))


def test_the_list_is_short_and_has_no_way_out() -> None:
    assert len(seccomp.ALLOWED) <= 32
    assert not set(FORBIDDEN) & set(seccomp.ALLOWED)
    for machine in MACHINES:
        numbers = header(machine)
        unknown = [name for name in FORBIDDEN if name not in numbers and machine == "x86_64" and name != "userfaultfd"]
        assert not unknown, "a name that forbids nothing"


def test_a_jump_fits_into_its_byte() -> None:
    for machine in MACHINES:
        assert len(seccomp.numbers(machine)) < 256
        assert len(seccomp.assemble(machine)) % 8 == 0


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp.assemble("riscv64")


def test_the_program_is_handed_to_prctl_as_the_kernel_wants_it() -> None:
    import ctypes

    seen = []

    def prctl(option: int, value: int, pointer: int) -> None:
        length, address = struct.unpack("@HP", ctypes.string_at(pointer, struct.calcsize("@HP")))
        seen.append((option, value, ctypes.string_at(address, length * 8)))

    seccomp.install(prctl, "aarch64")
    assert seen == [(22, 2, seccomp.assemble("aarch64"))]
