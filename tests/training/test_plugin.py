"""The example package, installed for real: modeltap finds its architecture and its task by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin"

SCRIPT = """
from modeltap.domain.features import FeatureSpec
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.architectures import architecture_names, find_architecture, parse_options
from modeltap.tasks.catalogue import find_task
from modeltap.training.building import build_module
import numpy, torch

assert "residual-mlp" in architecture_names()
recipe = parse_recipe({"task": "tabular-count", "model": {"blocks": 2}, "data": {"target": "count"}})
architecture = find_architecture(recipe.model.architecture)
module = build_module(architecture, parse_options(architecture, recipe.model.options), FeatureSpec(shape=(3,)), 1)
print(recipe.model.architecture, recipe.epochs, tuple(module(torch.zeros(5, 3)).shape))
print(find_task("tabular-count").decode({"y": numpy.array([2.6, -3.0])}, "y", ()))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    target = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(EXAMPLE)], check=True)
    return target


def test_an_installed_package_adds_an_architecture_and_a_task(installed: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["residual-mlp 100 (5, 1)", "[3, 0]"]
