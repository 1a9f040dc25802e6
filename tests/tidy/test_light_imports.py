"""What a person waits for at every command, and what serving never needs, is not loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "alembic",
    "fastapi",
    "httpx",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "polars",
    "pydantic",
    "rich",
    "sklearn",
    "sqlalchemy",
    "torch",
    "uvicorn",
)
TRAINING = ("matplotlib", "safetensors", "sklearn", "torch")


def loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of the libraries a fresh interpreter has loaded after the code."""
    asked = f"{code}\nimport sys\nprint(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_importing_the_package_loads_no_library_that_takes_long():
    assert loaded("import modeltap", HEAVY) == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]])
def test_help_loads_no_library_that_takes_long(arguments):
    code = f"from modeltap.cli.main import run\nrun({arguments!r})"
    allowed = {"pydantic", "rich"}  # Typer reads arguments and prints help with them
    assert set(loaded(code, HEAVY)) <= allowed


def test_the_server_and_what_answers_predictions_load_no_training_library():
    code = "import modeltap.wiring, modeltap.engines.onnx, modeltap.serving.replica"
    assert loaded(code, TRAINING) == []


def test_a_server_is_imported_without_what_it_may_never_need():
    assert loaded("import modeltap.wiring", ("alembic", "onnxruntime", "polars", "torch")) == []
