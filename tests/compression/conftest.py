"""One tiny language model for all tests of the room, converted once."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeltap.compression.openvino import convert
from modeltap.domain.model import Language
from tiny_language import files_of, make_tiny_llama


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def converted(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its OpenVINO form with float32 weights."""
    out = tmp_path_factory.mktemp("converted")
    convert(directory, out, weights="float32")
    return out


@pytest.fixture(scope="session")
def files(directory: Path, converted: Path) -> dict[str, Path]:
    return {**files_of(directory), **files_of(converted)}


@pytest.fixture(scope="session")
def language() -> Language:
    """Computed in full precision, so that sums can be compared."""
    return Language(family="llama", context_tokens=256, vocabulary=427, parameters=101376, cache="float32")
