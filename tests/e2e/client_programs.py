"""The programs of examples/clients, compiled once, and what a run of one printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "clients"
FILES = {
    "python": "predict.py",
    "sdk": "predict_sdk.py",
    "node": "predict.mjs",
    "java": "Predict.java",
    "cpp": "predict.cpp",
    "curl": "predict.sh",
}
PROGRAMS = tuple(FILES)
WAIT_S = 120


class Ran(NamedTuple):
    status: int
    out: str
    err: str


class Programs:
    """Commands by program; what cannot be run here skips the test with its reason."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._commands: dict[str, list[str] | str] = {}

    def run(self, program: str, *arguments: str | Path, url: str = "", key: str = "mt-k") -> Ran:
        """The program, compiled where it has to be; the SDK's takes no tensors."""
        command = self._command(program)
        return self._ran([*command, *map(str, arguments[:2] if program == "sdk" else arguments)], self._scratch, url, key)

    def run_line(self, program: str, line: str, folder: Path, *, url: str, key: str = "mt-k") -> Ran:
        """A line as a person types it in that folder, if what the program needs is there."""
        self._command(program)
        return self._ran(["bash", "-c", line.replace("python3", sys.executable)], folder, url, key)

    def _command(self, program: str) -> list[str]:
        if program not in self._commands:
            self._commands[program] = getattr(self, f"_{program}")()
        command = self._commands[program]
        if isinstance(command, str):
            pytest.skip(command)
        return command

    def _ran(self, words: list[str], folder: Path, url: str, key: str) -> Ran:
        """In an environment of its own, so that no proxy or setting of this machine takes part."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME") if name in os.environ}
        environment |= {"LC_ALL": "C.UTF-8", "MODELTAP_URL": url, "MODELTAP_KEY": key}
        done = subprocess.run(words, capture_output=True, env=environment, cwd=folder, timeout=WAIT_S)
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _python(self) -> list[str]:
        return [sys.executable, "-W", "error", str(FOLDER / "predict.py")]

    def _sdk(self) -> list[str]:
        return [sys.executable, "-W", "error", str(FOLDER / "predict_sdk.py")]

    def _node(self) -> list[str] | str:
        if _version("node", "--version") < 18:
            return "node 18 or newer is not installed"
        return ["node", str(FOLDER / "predict.mjs")]

    def _java(self) -> list[str] | str:
        if _version("java", "--version") < 17 or shutil.which("javac") is None:
            return "java and javac 17 or newer are not installed"
        _compile(["javac", "-Xlint:all,-serial", "-Werror", "-encoding", "UTF-8", "-d", self._scratch, FOLDER / "Predict.java"])
        return ["java", "-XX:TieredStopAtLevel=1", "-cp", str(self._scratch), "Predict"]

    def _cpp(self) -> list[str] | str:
        if shutil.which("g++") is None:
            return "g++ is not installed"
        probe = "#include <curl/curl.h>\nint main() { return curl_global_init(0); }\n"
        probed = self._scratch / "probe.cpp"
        probed.write_text(probe)
        if subprocess.run(["g++", probed, "-lcurl", "-o", self._scratch / "probe"], capture_output=True).returncode:
            return "libcurl and its headers are not installed (libcurl4-openssl-dev)"
        program = self._scratch / "predict"
        warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
        _compile(["g++", "-std=c++17", *warnings, FOLDER / "predict.cpp", "-lcurl", "-o", program])
        return [str(program)]

    def _curl(self) -> list[str] | str:
        missing = [name for name in ("bash", "curl", "awk", "sed", "grep", "od") if shutil.which(name) is None]
        return f"{missing[0]} is not installed" if missing else ["bash", str(FOLDER / "predict.sh")]


def _version(command: str, option: str) -> int:
    """The first number that it prints; 0 where it is not installed."""
    if shutil.which(command) is None:
        return 0
    printed = subprocess.run([command, option], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+", printed)
    return int(found[0]) if found else 0


def _compile(words: list[str | Path]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
