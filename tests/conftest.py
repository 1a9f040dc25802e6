"""What every room's tests share: the modules that lie beside the tests of any room, one home to work in, one tiny model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from workshop import Workshop

    from modeltap.importing.onnx import Imported

HERE = Path(__file__).parent
for folder in sorted({path.parent for path in HERE.rglob("*.py")}):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

settings.register_profile("steady", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("steady")
"""The same examples in every run; a busy machine fails no test. Look for others with --hypothesis-profile=default."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """A language model of 100,000 weights, as an import makes it."""
    from talking import import_tiny

    return import_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One home for the whole session, without a server; the names of its datasets keep its users apart."""
    from workshop import Workshop

    made = Workshop(tmp_path_factory.mktemp("home"))
    yield made
    made.close()
