"""The process in which a model from elsewhere is read: `python -P -m modeltap.importing.sandbox_child MODULE`, started by
`importing/sandbox.py`.

The first line of its standard input says how it is confined. It raises its walls, and only then loads the module and calls its
`main`, for which the rest of the input is. Without a module it tells what holds.
"""

from __future__ import annotations

import importlib
import sys

import msgspec

from modeltap.importing.sandbox_walls import Confinement, confine


def main() -> None:
    """Walls first, then the module."""
    held = confine(msgspec.json.decode(sys.stdin.buffer.readline(), type=Confinement))
    if len(sys.argv) == 1:
        sys.stdout.buffer.write(msgspec.json.encode(held))
        return
    importlib.import_module(sys.argv[1]).main()


if __name__ == "__main__":
    main()
