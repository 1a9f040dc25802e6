"""Landlock: this process, and all that it becomes, writes into its own folders alone. Linux 5.13 and later, also without
privileges and in containers.

The numbers are those of the system's interface, the same on every processor.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _TRUNCATE, _IOCTL_DEV = 1 << 1, 1 << 14, 1 << 15
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 13))
"""Removing and making, of whatever kind."""
_REFER = 1 << 13
"""Links and moves between folders."""
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2
_SINCE = {_REFER: 2, _TRUNCATE: 3, _IOCTL_DEV: 5}
WITH_TCP, WITH_SCOPES = 4, 6
"""The versions from which on connections over TCP, and abstract sockets and signals to others, are refused too."""


def landlock_version() -> int:
    """Of the system; 0 where it has no Landlock, or keeps it from this process."""
    if sys.platform != "linux":
        return 0
    return max(0, int(_system().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))))


def write_nowhere_but(places: Sequence[Path]) -> int:
    """The version that holds from now on for this thread and all that it starts; 0 where nothing was changed.

    `places` are folders or files that exist. The process must have given up new privileges (`no_new_privileges`).
    """
    version = landlock_version()
    if not version:
        return 0
    rights = _rights(version)
    fields = [rights]
    if version >= WITH_TCP:
        fields.append(_BIND_TCP | _CONNECT_TCP)
    if version >= WITH_SCOPES:
        fields.append(_ABSTRACT_SOCKETS | _SIGNALS)
    described = struct.pack(f"={len(fields)}Q", *fields)
    system = _system()
    rules = system.syscall(_CREATE_RULESET, described, ctypes.c_size_t(len(described)), ctypes.c_uint32(0))
    if rules < 0:
        return 0
    try:
        for place in places:
            _allow(system, rules, place, rights)
        return version if system.syscall(_RESTRICT_SELF, rules, ctypes.c_uint32(0)) == 0 else 0
    finally:
        os.close(rules)


def _rights(version: int) -> int:
    later = sum(bit for bit, since in _SINCE.items() if version >= since)
    return _WRITE_FILE | _CHANGE_FOLDERS | later


def _allow(system: ctypes.CDLL, rules: int, place: Path, rights: int) -> None:
    descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        allowed = rights if is_folder else rights & (_WRITE_FILE | _TRUNCATE | _IOCTL_DEV)
        rule = struct.pack("=Qi", allowed, descriptor)
        if system.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), "the rule was refused")
    finally:
        os.close(descriptor)


def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
