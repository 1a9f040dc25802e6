"""What a recipe may say about its architecture, and what it is told when it is wrong."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import architecture_names, find_architecture, parse_options, render_options

CONV = {"conv2d": {"name": "features", "filters": 32, "kernel": [3, 1], "activation": "relu"}}


def read(architecture: str, **options: Any) -> Any:
    return parse_options(find_architecture(architecture), options)


@pytest.mark.parametrize("name", architecture_names())
def test_options_survive_being_written_out(name: str) -> None:
    given = {"layers": [CONV, "flatten", {"activation": "swish"}, {"dense": {"units": 3}}]} if name == "sequential" else {}
    if any(field.name == "base" for field in msgspec.structs.fields(find_architecture(name).options)):
        given = {"base": "writer@1"}
    options = read(name, **given)
    assert parse_options(find_architecture(name), render_options(options)) == options


def test_names_the_nearest_architecture() -> None:
    with pytest.raises(InvalidRecipe, match="no architecture 'gradient-bosting'; did you mean 'gradient-boosting'"):
        find_architecture("gradient-bosting")


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("mlp", {"hiden": [8]}, "model.hiden: unknown key 'hiden'; did you mean 'hidden'"),
        ("mlp", {"hidden": [8, 0]}, r"model.hidden\[1\]: .*>= 1, given was 0"),
        ("mlp", {"activation": "rellu"}, "did you mean 'relu'"),
        ("mlp", {"dropout": 1.0}, "model.dropout: .*< 1.0, given was 1.0"),
        ("gradient-boosting", {"max_iter": "many"}, "model.max_iter: .*whole number, given was 'many'"),
        ("sequential", {}, "the key 'layers' is missing"),
        ("sequential", {"layers": ["flaten"]}, r"model.layers\[0\]: there is no layer 'flaten'; did you mean 'flatten'"),
        ("sequential", {"layers": ["flatten", {"dense": {"unit": 3}}]}, r"layers\[1\]: dense.unit: .*did you mean 'units'"),
        ("sequential", {"layers": [{"conv2d": {"filters": 2, "kernel": [3, 0]}}]}, r"conv2d.kernel\[1\]: .*>= 1, given was 0"),
        ("sequential", {"layers": [{"conv2d": {"filters": 2, "kernel": [3]}}]}, "conv2d.kernel: .*length >= 2"),
        ("sequential", {"layers": [{"dense": {}, "flatten": {}}]}, "a layer is a name, or one name with its keys"),
        ("sequential", {"layers": [{"dense": 3}]}, "dense: a mapping of keys is needed"),
    ],
)
def test_says_what_is_wrong_with_which_key(architecture: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        read(architecture, **options)


def test_the_catalogue_needs_no_torch() -> None:
    code = "import sys, modeltap.recipe.architectures, modeltap.training.fit; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
