"""The version that a network of layers begins with: its layers where the recipe lists none, and its weights that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from numpy.typing import NDArray

from modeltap.bundle.files import ARCHITECTURE, WEIGHTS
from modeltap.domain.features import FeatureSpec
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import SequentialOptions, find_architecture, parse_options, render_options
from modeltap.recipe.layers import Dense, Layer
from modeltap.runner.features import Featured
from modeltap.runner.steps import Step
from modeltap.storage.models import ModelRepository

MOST_NAMED = 6
RAW = "numbers reach the network as they are, as {} takes them; data.transforms says otherwise"


@dataclass(frozen=True)
class StartingNetwork:
    """`is_imported`: its weights are of rows and targets that nothing here has scaled."""

    id: str
    options: SequentialOptions
    features: FeatureSpec
    weights: Mapping[str, NDArray[Any]]
    is_imported: bool

    def recipe_for(self, recipe: Recipe, labels: Sequence[str]) -> Recipe:
        """The recipe with the layers of this network, the last as wide as there are classes, where it lists none of its own;
        of an imported network without scaling, unless it asks for some."""
        options = parse_options(find_architecture(recipe.model.architecture), recipe.model.options)
        assert isinstance(options, SequentialOptions)
        if not options.layers:
            layers = wide_enough(self.options.layers, len(labels) or 1)
            options = msgspec.structs.replace(options, layers=layers, layout=self.options.layout)
        model = msgspec.structs.replace(recipe.model, options=render_options(options))
        recipe = msgspec.structs.replace(recipe, model=model)
        transforms = recipe.data.transforms
        if self.is_imported and "auto" in (transforms.numbers, transforms.target):
            plain = {
                key: "none" if getattr(transforms, key) == "auto" else getattr(transforms, key) for key in ("numbers", "target")
            }
            data = msgspec.structs.replace(recipe.data, transforms=msgspec.structs.replace(transforms, **plain))
            recipe = msgspec.structs.replace(recipe, data=data)
        return recipe

    def begin(self, featured: Featured, recipe: Recipe, labels: Sequence[str]) -> Featured:
        """The features with the weights that the recipe's network begins with. Raises InvalidRecipe where none fits."""
        from modeltap.training.building import fitting_weights

        start, drawn = fitting_weights(recipe, featured.spec, len(labels) or 1, self.weights)
        if not start:
            raise InvalidRecipe(
                f"model.base is {self.id}, and none of its weights fits a layer of the recipe on rows"
                f" {list(featured.spec.shape)}; it takes {list(self.features.shape)}: leave model.layers out, or name the"
                " layers as it does"
            )
        told = [f"begins with the weights of {self.id}"]
        if drawn:
            more = ", …" if len(drawn) > MOST_NAMED else ""
            told = [f"begins with {len(start)} weights of {self.id}; drawn anew: {', '.join(drawn[:MOST_NAMED])}{more}"]
        if self.is_imported and not featured.spec.cardinalities and len(featured.spec.shape) == 1:
            told.append(RAW.format(self.id))
        return replace(featured, start=start, notices=(*featured.notices, *told))


def open_network(step: Step, recipe: Recipe) -> StartingNetwork | None:
    """None where the recipe begins with nothing. Raises NotFound, and InvalidRecipe for a version without layers."""
    architecture = find_architecture(recipe.model.architecture)
    reference = recipe.model.options.get("base")
    if architecture.options is not SequentialOptions or reference is None:
        return None
    version = ModelRepository(step.database, step.job.tenant).get(reference)
    files = step.artifacts.paths(version.digest)
    described = msgspec.json.decode(files[ARCHITECTURE].read_bytes()) if ARCHITECTURE in files else {}
    if WEIGHTS not in files or described.get("architecture") != architecture.name:
        raise InvalidRecipe(
            f"model.base is {version.id}, whose layers are not known; begin with a version of the architecture"
            f" '{architecture.name}' that has its weights"
        )
    options = parse_options(architecture, described["options"])
    assert isinstance(options, SequentialOptions)
    from safetensors.numpy import load_file

    return StartingNetwork(
        version.id,
        options,
        msgspec.convert(described["features"], FeatureSpec),
        load_file(files[WEIGHTS]),
        is_imported=version.manifest.schema.target is None,
    )


def wide_enough(layers: Sequence[Layer], num_outputs: int) -> tuple[Layer, ...]:
    """The layers with as many units in the last dense as there are outputs; one unit with a sigmoid tells two classes apart."""
    made = list(layers)
    place = max((index for index, layer in enumerate(made) if isinstance(layer.keys, Dense)), default=None)
    if place is None:
        return tuple(made)
    keys = made[place].keys
    assert isinstance(keys, Dense)
    is_binary = keys.units == 1 and num_outputs == 2 and made[-1].activation == "sigmoid"
    if keys.units != num_outputs and not is_binary:
        made = made[: place + 1]
        function = "softmax" if num_outputs > 1 else "linear"
        made[place] = Layer(made[place].kind, msgspec.structs.replace(keys, units=num_outputs, activation=function))
    return tuple(made)
