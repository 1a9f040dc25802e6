"""A bundle is tried in a process of its own: whatever that process does, the caller gets one named error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from small_bundles import (
    ENDLESS,
    Files,
    hungry_bundle,
    identity_bundle,
    spinning_bundle,
    times_bundle,
    with_golden,
    with_wrong_answer,
    words_bundle,
)

from modeltap.bundle.files import GOLDEN, GRAPH
from modeltap.engines.probation import MEMORY_BYTES, try_bundle
from modeltap.errors import Broken, GoldenMismatch


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return times_bundle(tmp_path / "times")


def test_a_bundle_that_repeats_its_answers_passes(files: Files, tmp_path: Path) -> None:
    try_bundle(files)
    try_bundle(words_bundle(tmp_path / "words"))
    try_bundle(identity_bundle(tmp_path / "identity", "FP16"))


def test_an_answer_that_differs_is_a_golden_mismatch(files: Files, tmp_path: Path) -> None:
    with pytest.raises(GoldenMismatch, match="golden row 1"):
        try_bundle(with_wrong_answer(files, tmp_path))


def test_a_graph_that_is_none_is_said(files: Files, tmp_path: Path) -> None:
    broken = tmp_path / GRAPH
    broken.write_bytes(b"\x08\x09not a graph" * 50)
    with pytest.raises(Broken, match="cannot load the graph") as problem:
        try_bundle({**files, GRAPH: broken})
    assert str(tmp_path) not in problem.value.message


def test_a_bundle_that_lacks_a_file_is_said(files: Files) -> None:
    with pytest.raises(Broken, match=r"golden\.json"):
        try_bundle({name: path for name, path in files.items() if name != GOLDEN})
    files[GRAPH].unlink()
    with pytest.raises(Broken, match="the bundle cannot be read: No such file"):
        try_bundle(files)


def test_a_process_that_dies_is_the_versions_fault_and_not_ours(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "nowhere")
    with pytest.raises(Broken, match="ended its trial process"):
        try_bundle(files)


def test_a_process_that_does_not_end_is_ended(tmp_path: Path) -> None:
    endless = with_golden(spinning_bundle(tmp_path), tmp_path, [[ENDLESS]], {"y": [[ENDLESS]]})
    with pytest.raises(Broken, match=r"not ready within 0\.5 s"):
        try_bundle(endless, timeout_s=0.5)


def test_a_process_that_nobody_waits_for_ends_itself(tmp_path: Path) -> None:
    endless = with_golden(spinning_bundle(tmp_path), tmp_path, [[ENDLESS]], {"y": [[ENDLESS]]})
    command = [sys.executable, "-m", "modeltap.engines.probation", str(os.getpid()), "1"]
    request = msgspec.json.encode({name: str(path) for name, path in endless.items()})
    ended = subprocess.run(command, input=request, capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_a_graph_that_eats_the_memory_does_so_in_its_own_process_up_to_a_limit(tmp_path: Path) -> None:
    try_bundle(hungry_bundle(tmp_path / "modest", MEMORY_BYTES // 64))
    with pytest.raises(Broken, match="the graph failed"):
        try_bundle(hungry_bundle(tmp_path / "hungry", MEMORY_BYTES // 4 + 1))
