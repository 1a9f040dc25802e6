"""The versions that the tests of this room serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_bundles import Files, times_bundle, with_wrong_answer

if TYPE_CHECKING:
    from asking import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """v2, v3 and v4 answer with 2, 3 and 4 times the input; `bad` does not repeat its recorded answers."""
    from asking import Shelf

    held: dict[str, Files] = {f"v{factor}": times_bundle(tmp_path / f"v{factor}", factor) for factor in (2, 3, 4)}
    return Shelf(**held, bad=with_wrong_answer(held["v2"], tmp_path / "bad"))
