"""A bundle is tried in a process of its own: whatever that process does, the caller gets one named error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from modeltap.bundle.files import GOLDEN, GRAPH
from modeltap.engines.probation import try_bundle
from modeltap.errors import Broken, GoldenMismatch

if TYPE_CHECKING:
    from workshop import Workshop

Files = dict[str, Path]


@pytest.fixture(scope="module")
def files(workshop: Workshop) -> Files:
    rows = "\n".join(f"{i},{'ab'[i % 2]},{i * 2 + (i % 2)}" for i in range(60))
    workshop.add("tried", f"size,kind,price\n{rows}\n", target="price")
    version = workshop.train("tried", "tabular-regression", settings={"model.architecture": "linear", "epochs": 1})["version"]
    return workshop.files(version)


def test_a_bundle_that_repeats_its_answers_passes(files: Files) -> None:
    try_bundle(files)


def test_an_answer_that_differs_is_a_golden_mismatch(files: Files, tmp_path: Path) -> None:
    golden = msgspec.json.decode(files[GOLDEN].read_bytes())
    golden["answers"]["prediction"][1] += 0.5
    changed = tmp_path / GOLDEN
    changed.write_bytes(msgspec.json.encode(golden))
    with pytest.raises(GoldenMismatch, match="golden row 2"):
        try_bundle({**files, GOLDEN: changed})


def test_a_graph_that_is_none_is_said(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / GRAPH
    broken.write_bytes(b"\x08\x09not a graph" * 50)
    with pytest.raises(Broken, match="cannot load the graph") as problem:
        try_bundle({**files, GRAPH: broken})
    assert str(tmp_path) not in problem.value.message


def test_a_bundle_that_lacks_a_file_is_said(files: Files) -> None:
    with pytest.raises(Broken, match=r"golden\.json"):
        try_bundle({name: path for name, path in files.items() if name != GOLDEN})


def test_a_process_that_dies_is_the_versions_fault_and_not_ours(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "nowhere")
    with pytest.raises(Broken, match="ended its trial process"):
        try_bundle(files)


def test_a_process_that_does_not_end_is_ended(files: Files) -> None:
    with pytest.raises(Broken, match=r"not ready within 0\.01 s"):
        try_bundle(files, timeout_s=0.01)
