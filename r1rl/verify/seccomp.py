"""The system-call filter of the sandbox, as the classic BPF program that the kernel takes.

It refuses calls rather than listing the allowed ones, so that any Python runs; the namespaces around it hold on
their own. It is needed for what they do not limit: processes (RLIMIT_NPROC spares root's user id), memory outside
the address space (memfd, System V), nested user namespaces and little-audited corners of the kernel.

Source: Documentation/userspace-api/seccomp_filter.rst of Linux; numbers from its unistd_64.h (x86_64) and
asm-generic/unistd.h (aarch64).
"""

import errno
import platform
import re
import struct

_MACHINES = ("x86_64", "aarch64")
_AUDIT_ARCH = (0xC000003E, 0xC00000B7)
_CLONE, _CLONE3, _PRCTL = (56, 220), 435, (157, 167)
_PR_SET_PDEATHSIG = 1
_CLONE_THREAD = 0x10000
_X32_BIT = 0x40000000

# each call with its numbers on x86_64 and on aarch64, - where it does not exist
_TABLE = """
processes:  fork 57 -  vfork 58 -  ptrace 101 117  process_vm_readv 310 270  process_vm_writev 311 271  kcmp 312 272
            pidfd_getfd 438 438  personality 135 92  modify_ldt 154 -
network:    socket 41 198
memory:     memfd_create 319 279  memfd_secret 447 447  shmget 29 194  semget 64 190  msgget 68 186  mq_open 240 180
namespaces: unshare 272 97  setns 308 268
files:      mount 165 40  umount2 166 39  pivot_root 155 41  chroot 161 51  open_tree 428 428  move_mount 429 429
            fsopen 430 430  fsmount 432 432  fspick 433 433  mount_setattr 442 442  fanotify_init 300 262
            name_to_handle_at 303 264  open_by_handle_at 304 265  setxattr 188 5  lsetxattr 189 6  fsetxattr 190 7
the kernel: io_uring_setup 425 425  io_uring_enter 426 426  io_uring_register 427 427  bpf 321 280
            perf_event_open 298 241  userfaultfd 323 282  add_key 248 217  request_key 249 218  keyctl 250 219
"""
_REFUSED = {
    name: tuple(None if number == "-" else int(number) for number in numbers)
    for name, *numbers in re.findall(r"(\w+) (\d+) (\d+|-)", _TABLE)
}

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000


def machines() -> list[str]:
    """The machines (as `platform.machine()` names them) that there are system-call numbers for."""
    return sorted(_MACHINES)


def filter_program(machine: str | None = None) -> bytes:
    """The filter for `machine` (default: this one) as an array of `struct sock_filter`.

    A call in another ABI (32-bit, x32) kills the process, a refused call fails with EPERM, `clone` without
    CLONE_THREAD too: threads may start, processes may not. Nor may a program undo that it dies with its parent
    (`prctl`). `clone3` is answered with ENOSYS, because a filter cannot read its arguments; the C library then falls
    back to `clone`. Raises `ValueError` for a machine without numbers here.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise ValueError(f"machine={machine!r}: no system-call filter for it; allowed: {', '.join(machines())}")
    column = _MACHINES.index(machine)

    def step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, operand)

    def answer(code: int, operand: int, result: int) -> bytes:
        return step(code, operand, 0, 1) + step(_RETURN, result)

    steps = [step(_LOAD, _ARCH_AT), step(_JUMP_EQUAL, _AUDIT_ARCH[column], 1, 0), step(_RETURN, _KILL_PROCESS)]
    steps.append(step(_LOAD, _NUMBER_AT))
    if machine == "x86_64":
        steps.append(answer(_JUMP_AT_LEAST, _X32_BIT, _KILL_PROCESS))
    steps.append(answer(_JUMP_EQUAL, _CLONE3, _ERRNO | errno.ENOSYS))
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            steps.append(answer(_JUMP_EQUAL, number, _ERRNO | errno.EPERM))
    steps.append(step(_JUMP_EQUAL, _PRCTL[column], 0, 4) + step(_LOAD, _FIRST_ARGUMENT_AT))
    steps.append(answer(_JUMP_EQUAL, _PR_SET_PDEATHSIG, _ERRNO | errno.EPERM) + step(_RETURN, _ALLOW))
    steps.append(step(_JUMP_EQUAL, _CLONE[column], 0, 3))
    steps.append(step(_LOAD, _FIRST_ARGUMENT_AT))
    steps.append(step(_JUMP_ANY_BIT, _CLONE_THREAD, 1, 0) + step(_RETURN, _ERRNO | errno.EPERM))
    steps.append(step(_RETURN, _ALLOW))
    return b"".join(steps)
