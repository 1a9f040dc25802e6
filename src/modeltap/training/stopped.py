"""How training says that it was asked to stop, and did."""

from __future__ import annotations


class Stopped(Exception):
    """Training stopped because it was asked to; what it had reached is in its checkpoint. It is no error."""
