"""The README's five minutes, run as they stand there: each block of shell in order, then the Python, in a home of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import ROOT, blocks, read, section

LIMIT_S = 240


@pytest.fixture
def environment(tmp_path):
    """Of a person in a checkout: its examples at hand, the installed commands on the path, a home that nobody used before."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    home = tmp_path / "home"
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    yield {**os.environ, "PATH": commands, "MODELTAP_HOME": str(home), "NO_COLOR": "1"}
    end_server(home)


def end_server(home: Path) -> None:
    """Ends the server that a command started, and waits until it is gone."""
    try:
        pid = json.loads((home / "server.json").read_bytes())["pid"]
        os.kill(pid, signal.SIGTERM)
        for _ in range(300):
            os.kill(pid, 0)
            time.sleep(0.1)
    except (FileNotFoundError, ProcessLookupError):
        return


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.timeout(600)
def test_the_five_minutes_of_the_readme_work_as_they_are_written(tmp_path, environment):
    said = {}
    for block in blocks(section(read("README.md"), "Five minutes"), "sh"):
        said[block.text] = run(["bash", "-euo", "pipefail", "-c", block.text], tmp_path, environment)

    def after(command: str) -> str:
        return next(output for text, output in said.items() if command in text)

    cultivars = [line.split()[0] for line in after("predict cultivar").splitlines()[-3:]]
    assert cultivars == ["class_0", "class_1", "class_2"]
    over_http = json.loads(after("curl"))
    assert over_http["model"] == "wine@1"
    assert [answer["label"] for answer in over_http["predictions"]] == cultivars
    assert "moves the answer by" in after("explain cultivar") and (tmp_path / "why.html").exists()
    shown = json.loads(run(["modeltap", "deployments", "show", "cultivar", "--json"], tmp_path, environment))
    assert [route["version"] for route in shown["routes"]] == [1], "rolled back"
    assert after("predict digits").splitlines()[-1].split()[0] == "0"
    assert "<html" in (tmp_path / "wine.html").read_text(encoding="utf-8")
    assert (tmp_path / "modeltap.tar").stat().st_size > 0

    (python,) = blocks(section(read("README.md"), "Python"), "python")
    told = run([sys.executable, "-c", python.text], tmp_path, environment).splitlines()
    assert told[0].startswith("wine@3 ")
    assert [line.split()[0] for line in told[1:]] == cultivars
