"""Texts → ids that a network is trained on: n-grams or subwords fitted to the training part, or those of the version that it
begins with. Letters: N texts, T ids of a text, V n-grams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.data.graph import GraphWriter
from modeltap.data.ngrams import fit_ngrams
from modeltap.data.rows import input_spec
from modeltap.data.subwords import Subwords, train_subwords
from modeltap.data.text_reading import FittedTexts, TextReader, padded
from modeltap.domain.features import CODES, FeatureBatch, FeatureSpec
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import TensorSpec
from modeltap.errors import InvalidData, InvalidRecipe
from modeltap.recipe.architectures import find_architecture, parse_options, render_options
from modeltap.recipe.text_architectures import EncoderOptions, LstmOptions, NGramOptions, PretrainedOptions
from modeltap.runner.features import Featured
from modeltap.runner.prepare import Prepared
from modeltap.runner.text_start import StartingVersion
from modeltap.training.fit import TrainingData

OpenStart = Callable[[str], StartingVersion]


def text_features(prepared: Prepared, recipe: Recipe, open_start: OpenStart) -> tuple[Recipe, Featured]:
    """The ids, and the recipe with what only the version to begin with can tell."""
    (column,) = prepared.schema.features
    train, val = prepared.parts["train"], prepared.parts["val"]
    texts = train.columns[column.name].tolist()
    recipe, fitted, start = fit_reader(texts, recipe, open_start)
    reader = fitted.open()
    read = [reader.read(texts), reader.read(val.columns[column.name].tolist())]
    longest = max(1, max((len(ids) for lists in read for ids in lists), default=1))
    codes = [padded(lists, longest, padding=reader.padding) for lists in read]
    if not isinstance(fitted.settings, Subwords):
        start = {"rarity": rarity(codes[0], reader.size)}
    spec = ids_spec(reader, longest)
    batches = [FeatureBatch(features=np.empty((len(ids_NT), 0), dtype=np.float32), codes=ids_NT) for ids_NT in codes]
    data = TrainingData(train=batches[0], train_target=train.target, val=batches[1], val_target=val.target)
    graph, graph_inputs = ids_graph(column.name)
    cut = sum(len(ids) > reader.max_ids for ids in reader.whole(texts)) if isinstance(fitted.settings, Subwords) else 0
    notices = (f"{cut} texts are longer than {reader.max_ids} tokens and are cut there",) if cut else ()
    return recipe, Featured(graph, graph_inputs, (input_spec(column),), spec, data, notices, fitted, start)


def fit_reader(texts: Sequence[str], recipe: Recipe, open_start: OpenStart) -> tuple[Recipe, FittedTexts, dict[str, Any]]:
    """How texts are read, fitted to these alone; and the weights to begin with. Raises InvalidRecipe, InvalidData."""
    architecture = find_architecture(recipe.model.architecture)
    options = parse_options(architecture, recipe.model.options)
    if isinstance(options, PretrainedOptions):
        base = open_start(options.base)
        most = base.shape.positions - base.shape.first_position
        if options.max_tokens is not None and options.max_tokens > most:
            raise InvalidRecipe(f"model.max_tokens is {options.max_tokens}, {base.id} takes at most {most}")
        settings = msgspec.structs.replace(base.texts.settings, max_ids=options.max_tokens or base.texts.settings.max_ids)
        options = msgspec.structs.replace(options, base=base.id, shape=base.shape)
        model = msgspec.structs.replace(recipe.model, options=render_options(options))
        return (
            msgspec.structs.replace(recipe, model=model),
            FittedTexts(settings, base.texts.tokenizer_json),
            dict(base.weights),
        )
    if isinstance(options, NGramOptions):
        if not options.words and not options.characters:
            raise InvalidRecipe("model.words is 0 and model.characters is empty, so nothing of a text would be read")
        ngrams = fit_ngrams(
            texts,
            words=options.words,
            characters=options.characters,
            vocabulary=options.vocabulary,
            min_count=options.min_count,
            max_ids=options.max_ngrams,
        )
        if not ngrams.vocabulary:
            raise InvalidData(f"no n-gram is in {options.min_count} training texts; lower model.min_count, or add texts")
        return recipe, FittedTexts(ngrams), {}
    assert isinstance(options, LstmOptions | EncoderOptions)
    tokenizer = train_subwords(texts, vocabulary=options.vocabulary, lower=options.lower)
    return recipe, FittedTexts(Subwords(padding=0, max_ids=options.max_tokens), tokenizer), {}


def ids_spec(reader: TextReader, longest: int) -> FeatureSpec:
    return FeatureSpec(cardinalities=(reader.size,) * longest, padding=reader.padding)


def ids_graph(name: str) -> tuple[Any, tuple[TensorSpec, ...]]:
    """The graph before the network's, which has nothing to do: ids under the text's name → CODES."""
    writer = GraphWriter("features")
    writer.node("Identity", [name], out=CODES)
    inputs = (TensorSpec(name, "INT64", (-1, -1)),)
    return writer.model(inputs, [TensorSpec(CODES, "INT64", (-1, -1))]), inputs


def rarity(ids_NT: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """(V,): 1 + ln((1 + N) / (1 + n)) of an n-gram that n of N texts have; 0 of what fills up.

    Source: the smoothed inverse document frequency of scikit-learn.
    """
    counts_V = np.bincount(ids_NT.ravel(), minlength=size).astype(np.float64)
    rarity_V = 1 + np.log((1 + len(ids_NT)) / (1 + counts_V))
    rarity_V[0] = 0
    return rarity_V.astype(np.float32)
