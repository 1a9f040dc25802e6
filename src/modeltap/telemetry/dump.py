"""The numbers of one process as it hands them to whoever adds them up."""

from __future__ import annotations

import msgspec

from modeltap.telemetry.series import Labels, Values


class Dump(msgspec.Struct, frozen=True, array_like=True):
    """The numbers of one process at one moment. `born` differs for each process that ever had the name."""

    process: str
    born: str
    numbers: dict[str, list[tuple[Labels, Values]]]
