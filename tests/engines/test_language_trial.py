"""A language model is tried in an engine process before anything leads to it; the process that asks never loads the engine."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from modeltap.bundle.files import GOLDEN, open_bundle
from modeltap.engines.probation import try_bundle
from modeltap.errors import Broken, GoldenMismatch
from modeltap.importing.onnx import Imported


def test_a_model_that_repeats_its_golden_prompts_passes(tiny: Imported) -> None:
    before = set(sys.modules)
    try_bundle(tiny.files)
    assert not [name for name in set(sys.modules) - before if name.startswith("openvino")]


def test_a_model_that_goes_on_otherwise_is_refused(tiny: Imported, tmp_path: Path) -> None:
    golden = open_bundle(tiny.files).golden
    first = golden.prompts[0]
    other = msgspec.structs.replace(first, answer=tuple((token + 1) % 300 for token in first.answer))
    changed = tmp_path / GOLDEN
    changed.write_bytes(msgspec.json.encode(msgspec.structs.replace(golden, prompts=(other, *golden.prompts[1:]))))
    with pytest.raises(GoldenMismatch, match="golden prompt 1 goes on with"):
        try_bundle({**tiny.files, GOLDEN: changed})


def test_a_model_whose_graph_is_missing_or_damaged_is_refused(tiny: Imported, tmp_path: Path) -> None:
    without = {name: path for name, path in tiny.files.items() if name != "openvino_model.bin"}
    with pytest.raises(Broken):
        try_bundle(without)
    damaged = tmp_path / "openvino_model.xml"
    damaged.write_text("<net>")
    with pytest.raises(Broken):
        try_bundle({**tiny.files, "openvino_model.xml": damaged})
