"""The loop over tokens in one of several processes."""

from __future__ import annotations

from modeltap.training.distributed.loop import SharedLoop
from modeltap.training.language.loop import LanguageLoop


class SharedLanguageLoop(SharedLoop, LanguageLoop):
    """Learns as `LanguageLoop` of its share, and does the rest as `SharedLoop`."""
