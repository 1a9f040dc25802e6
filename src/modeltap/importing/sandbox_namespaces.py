"""Namespaces of Linux: a process without a network, and where asked without any folder that it can write but its own."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x40000000
_PRIVATE, _ALL_BELOW, _BIND = 1 << 18, 1 << 14, 1 << 12
_MOUNT_SETATTR, _HERE, _BELOW_TOO = 442, -100, 0x8000
_READ_ONLY_WITHOUT_DEVICES = 1 | 4
"""A device can be written through a file system that cannot."""
_CAPABILITY_FORM = 0x20080522


def leave_network() -> bool:
    """Whether this process, which has one thread, is from now on in a network of its own, where nothing is."""
    return _enter(_NEW_NETWORK | _NEW_IPC)


def mount_all_read_only_but(places: Sequence[Path]) -> bool:
    """Whether this process, which has one thread, sees every file system read-only and without devices from now on, apart from
    these folders and files."""
    if not _enter(_NEW_MOUNTS):
        return False
    system = _system()
    if system.mount(b"none", b"/", None, ctypes.c_ulong(_ALL_BELOW | _PRIVATE), None):
        return False
    names = [os.fsencode(place) for place in places]
    if any(system.mount(name, name, None, ctypes.c_ulong(_BIND), None) for name in names):
        return False
    read_only = struct.pack("=4Q", _READ_ONLY_WITHOUT_DEVICES, 0, 0, 0)
    writable = struct.pack("=4Q", 0, _READ_ONLY_WITHOUT_DEVICES, 0, 0)
    if _set_mount(system, b"/", _BELOW_TOO, read_only):
        return False
    return not any(_set_mount(system, name, 0, writable) for name in names)


def give_up_privileges() -> bool:
    """Whether this process has no more rights than its user's files have given it."""
    if sys.platform != "linux":
        return False
    head, nothing = struct.pack("=Ii", _CAPABILITY_FORM, 0), bytes(24)
    return bool(_system().capset(head, nothing) == 0)


def _enter(kinds: int) -> bool:
    if sys.platform != "linux":
        return False
    user, group = os.geteuid(), os.getegid()
    if _system().unshare(_NEW_USER | kinds) == 0:
        with suppress(OSError):  # without a name the user is `nobody` to programs, and the same to the system
            Path("/proc/self/setgroups").write_bytes(b"deny")
            Path("/proc/self/uid_map").write_bytes(b"%d %d 1" % (user, user))
            Path("/proc/self/gid_map").write_bytes(b"%d %d 1" % (group, group))
        return True
    return bool(_system().unshare(kinds) == 0)


def _set_mount(system: ctypes.CDLL, name: bytes, how: int, wanted: bytes) -> int:
    return int(
        system.syscall(_MOUNT_SETATTR, _HERE, ctypes.c_char_p(name), ctypes.c_uint(how), wanted, ctypes.c_size_t(len(wanted)))
    )


def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
