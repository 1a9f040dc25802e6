"""A filter of system calls: this process starts no other, opens no socket, signals none but itself, and changes neither mounts
nor rights. Linux on x86-64 and arm64; no privileges are needed, and containers allow it.

A refused call fails with EPERM, which every library takes for an ordinary failure.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import NamedTuple

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_LOAD, _SAME, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AT_NUMBER, _AT_PROCESSOR, _AT_FIRST = 0, 4, 16
"""Where the filter finds the call's number, the processor, and the low half of the first argument."""
_THREAD = 0x00010000
_X32 = 0x40000000
"""Numbers of another way to call the same x86-64 system."""


class _Processor(NamedTuple):
    """Its name to the system, and the numbers of calls by name."""

    mark: int
    refused: dict[str, int]
    clone: int
    clone3: int
    only_self: dict[str, int]
    """Calls whose first argument must be this process, or 0, which means it."""


_SAME_NUMBERS = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsmount": 432,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "fchmodat2": 452,
}
"""Calls that came with one number for all processors."""
_X86_64 = _Processor(
    mark=0xC000003E,
    refused={
        "socket": 41, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "tkill": 200, "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297, "chmod": 90, "fchmod": 91, "fchmodat": 268, "chown": 92, "fchown": 93, "lchown": 94,
        "fchownat": 260, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198,
        "fremovexattr": 199, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "setns": 308, "unshare": 272,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "reboot": 169, "swapon": 167,
        **_SAME_NUMBERS,
    },
    clone=56,
    clone3=435,
    only_self={"kill": 62, "tgkill": 234, "prlimit64": 302},
)  # fmt: skip
_ARM64 = _Processor(
    mark=0xC00000B7,
    refused={
        "socket": 198, "execve": 221, "execveat": 281,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "tkill": 130, "rt_sigqueueinfo": 138,
        "rt_tgsigqueueinfo": 240, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55,
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
        "utimensat": 88,
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "setns": 268, "unshare": 97,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219,
        "init_module": 105, "finit_module": 273, "delete_module": 106, "kexec_load": 104, "reboot": 142, "swapon": 224,
        **_SAME_NUMBERS,
    },
    clone=220,
    clone3=435,
    only_self={"kill": 129, "tgkill": 131, "prlimit64": 261},
)  # fmt: skip
_PROCESSORS = {"x86_64": _X86_64, "aarch64": _ARM64}


def no_new_privileges() -> bool:
    """Whether from now on no program that this process starts has more rights than it."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0)


def refuse_calls() -> bool:
    """Whether the filter holds from now on, for this thread and all that it starts. It asks for `no_new_privileges` first."""
    processor = _PROCESSORS.get(platform.machine()) if sys.platform == "linux" and sys.maxsize > 2**32 else None
    if processor is None:
        return False
    code = _program(processor, os.getpid())
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_SET_SECCOMP, _FILTER, program, 0, 0) == 0)


def _program(processor: _Processor, pid: int) -> bytes:
    """The filter, 8 bytes an instruction: operation, how many to skip where it holds and where not, operand."""
    refuse, unknown = _REFUSE | errno.EPERM, _REFUSE | errno.ENOSYS
    steps = [
        (_LOAD, 0, 0, _AT_PROCESSOR),
        (_SAME, 1, 0, processor.mark),
        (_RETURN, 0, 0, refuse),
        (_LOAD, 0, 0, _AT_NUMBER),
    ]
    if processor is _X86_64:
        steps += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, refuse)]
    for number in sorted(processor.refused.values()):
        steps += [(_SAME, 0, 1, number), (_RETURN, 0, 0, refuse)]
    # The library asks for a thread in the old way where the new one is not there; only of the old way flags can be seen here.
    steps += [(_SAME, 0, 1, processor.clone3), (_RETURN, 0, 0, unknown)]
    steps += [
        (_SAME, 0, 4, processor.clone),
        (_LOAD, 0, 0, _AT_FIRST),
        (_HAS_BITS, 0, 1, _THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, refuse),
    ]
    for number in sorted(processor.only_self.values()):
        steps += [
            (_SAME, 0, 5, number),
            (_LOAD, 0, 0, _AT_FIRST),
            (_SAME, 2, 0, pid),
            (_SAME, 1, 0, 0),
            (_RETURN, 0, 0, refuse),
            (_RETURN, 0, 0, _ALLOW),
        ]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
