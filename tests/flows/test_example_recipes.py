"""The recipes in examples/ train what they say, on data that examples/make_data.py or scikit-learn gives."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from workshop import Workshop

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, EXAMPLES / "make_data.py"], cwd=folder, check=True)
    return folder


def recipe(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


def test_the_small_regression_explains_nearly_all_of_the_variance(workshop: Workshop, made: Path) -> None:
    workshop.add("numbers", (made / "numbers.npz").read_bytes(), "numbers.npz")
    trained = workshop.train("numbers", recipe=recipe("regression.yaml"))
    assert trained["metrics"]["test"]["r2"] > 0.95
    manifest = workshop.models.get(trained["version"]).manifest
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.signature.inputs] == [("x", "FP32", (-1, 10))]
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.signature.outputs] == [("y_pred", "FP32", (-1,))]


def test_the_small_classifier_finds_the_class_of_nearly_every_vector(workshop: Workshop, made: Path) -> None:
    workshop.add("vectors", (made / "vectors.npz").read_bytes(), "vectors.npz")
    trained = workshop.train("vectors", recipe=recipe("classifier.yaml"), settings={"epochs": 5})
    assert trained["metrics"]["test"]["accuracy"] > 0.95


def test_the_keras_style_network_reads_pictures_of_28_by_28(workshop: Workshop) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = np.kron(digits.images, np.ones((3, 3)))  # 24 by 24
    pictures = np.pad(pictures * 15.9, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    packed = io.BytesIO()
    np.savez(packed, x=pictures, y=digits.target)
    workshop.add("large-digits", packed.getvalue(), "digits.npz")
    trained = workshop.train("large-digits", recipe=recipe("mnist.yaml"), settings={"epochs": "2"})
    assert trained["metrics"]["test"]["accuracy"] > 0.85


def test_one_recipe_and_seed_give_one_digest(workshop: Workshop, made: Path) -> None:
    workshop.add("again", (made / "numbers.npz").read_bytes(), "numbers.npz")
    first, second, other = (
        workshop.train("again", recipe=recipe("regression.yaml"), settings={"epochs": 2, "seed": seed}) for seed in (0, 0, 1)
    )
    assert first["digest"] == second["digest"]
    assert first["digest"] != other["digest"]
