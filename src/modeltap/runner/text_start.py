"""The version that a network of texts begins with: its encoder's weights and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from numpy.typing import NDArray

from modeltap.bundle.files import ARCHITECTURE, WEIGHTS
from modeltap.data.text_reading import FittedTexts, read_fitted
from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture, parse_options
from modeltap.recipe.text_architectures import EncoderOptions, PretrainedOptions, Shape, own_shape
from modeltap.runner.steps import Step
from modeltap.storage.models import ModelRepository

ENCODER = "encoder."
"""Begins the names of an encoder's weights, whatever stands behind it."""


@dataclass(frozen=True)
class StartingVersion:
    id: str
    shape: Shape
    weights: Mapping[str, NDArray[Any]]
    texts: FittedTexts


def open_start(step: Step, reference: str) -> StartingVersion:
    """Raises NotFound, and InvalidRecipe for a version that has no encoder of texts."""
    version = ModelRepository(step.database, step.job.tenant).get(reference)
    files = step.artifacts.paths(version.digest)
    described = msgspec.json.decode(files[ARCHITECTURE].read_bytes()) if ARCHITECTURE in files else {}
    options = None
    if described.get("architecture"):
        options = parse_options(find_architecture(described["architecture"]), described["options"])
    if isinstance(options, PretrainedOptions) and options.shape is not None:
        shape = options.shape
    elif isinstance(options, EncoderOptions):
        spec = msgspec.convert(described["features"], FeatureSpec)
        shape = own_shape(options, vocabulary=max(spec.cardinalities), padding=spec.padding or 0)
    else:
        raise InvalidRecipe(
            f"model.base is {version.id}, which has no encoder of texts; import one with `modeltap models import`, or train a"
            " version of text-embedding"
        )
    from safetensors.numpy import load_file

    weights = {name: array for name, array in load_file(files[WEIGHTS]).items() if name.startswith(ENCODER)}
    return StartingVersion(version.id, shape, weights, read_fitted(files))
