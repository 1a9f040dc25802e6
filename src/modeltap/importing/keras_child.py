"""Reads a model of Keras's and writes its bundle, in a confined process of its own, started by `importing/keras.py`.

Its config is checked before Keras is even loaded; Keras builds it in safe mode, on torch.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modeltap.domain.signature import Array, Batch, Signature
from modeltap.engines.onnx import read_graph_tensors
from modeltap.errors import InvalidData, InvalidRecipe
from modeltap.importing.declared import Declared, check_labels, check_task, recipe_text
from modeltap.importing.inputs import GraphInput, generated_inputs
from modeltap.importing.keras_config import EXPORT, read_config
from modeltap.importing.keras_layers import Converted, convert_sequential
from modeltap.importing.network_asking import NetworkAsked, Written, answer_with, digest_of
from modeltap.importing.network_bundle import Network, write_network
from modeltap.importing.onnx_signature import datatype_of, input_specs, output_specs, schema_of
from modeltap.importing.samples import GENERATED_ROWS, generated_sample, read_sample
from modeltap.importing.sequential_bundle import SequentialNetwork
from modeltap.recipe.architectures import SequentialOptions
from modeltap.tasks import tensors

ARCHITECTURE = "keras"
GRAPH = "keras.onnx"
NO_MEMORY = "can't allocate memory"
"""In what torch says then."""
BUILDING = (ValueError, TypeError, LookupError, AttributeError, AssertionError, OSError, RuntimeError)
"""What Keras and torch raise where a config builds nothing, or a model cannot be written; errors of torch's exporter are among
them."""


def read_keras(asked: NetworkAsked) -> Written:
    """Writes the bundle. Raises InvalidData for what cannot be read, InvalidRecipe for a task that does not fit."""
    path, options = Path(asked.source), asked.options
    read_config(path)
    model = _load(path)
    source = f"keras {_version()}"
    digest = digest_of([path])
    facts = {"layers": ", ".join(type(layer).__name__ for layer in model.layers[:60])}
    task = check_task(options.task)
    labels = check_labels(options.labels, task)
    converted = _converted(model)
    notices: list[str] = []
    if isinstance(converted, Converted):
        declared = Declared(
            options=SequentialOptions(layers=converted.layers),
            shape=tuple(model.input_shape[1:]),
            input=model.inputs[0].name.partition(":")[0],
            output=_output_names(model)[0],
            task=task,
            labels=labels,
        )
        try:
            return _write_layers(asked, model, declared, converted, source=source, digest=digest, facts=facts)
        except InvalidRecipe as problem:
            if task != tensors.TASK.name:
                raise
            converted = problem.message
            _empty(Path(asked.folder))
    if task != tensors.TASK.name:
        raise InvalidRecipe(
            f"a task is for models whose layers a recipe can say; this one has {converted}. Leave the task out to import it as"
            " it is"
        )
    notices.append(
        f"its layers cannot be said in a recipe ({converted}), so it can be served, and neither trained on nor pruned"
    )
    return _write_graph(asked, model, source=source, digest=digest, facts=facts, notices=notices)


def _load(path: Path) -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except BUILDING as problem:
        if NO_MEMORY in str(problem):
            raise InvalidData("the model asks for more memory than it may have; its layers are larger than its file") from None
        first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise InvalidData(
            f"Keras cannot build the model: {first.replace(str(path), 'the file')[:300]}; where it was made, write it anew with"
            f" Keras 3: {EXPORT}"
        ) from None
    if not model.built or not getattr(model, "inputs", None):
        raise InvalidData(
            "the model was saved before it had an input; give it one (keras.Input as the first layer, or call it once) and"
            f" save it again: {EXPORT}"
        )
    return model


def _version() -> str:
    import keras

    return str(keras.__version__)


def _converted(model: Any) -> Converted | str:
    shape = tuple(model.inputs[0].shape)[1:]
    if type(model).__name__ != "Sequential" or len(model.inputs) != 1:
        return "more than a list of layers"
    if not shape or any(extent is None for extent in shape):
        return f"an input of no fixed shape {list(shape)}"
    return convert_sequential(model)


def _output_names(model: Any) -> list[str]:
    """What the outputs are called, each another name than the inputs'."""
    taken = {tensor.name.partition(":")[0] for tensor in model.inputs}
    names: list[str] = []
    for given in getattr(model, "output_names", None) or [model.layers[-1].name]:
        name = str(given)
        while name in taken or name in names:
            name += "_"
        names.append(name)
    return names


def _answered(model: Any) -> Callable[[list[Array]], list[Array]]:
    """The outputs that Keras computes for whole inputs, in their order."""
    import torch

    def run(inputs: list[Array]) -> list[Array]:
        given = [torch.from_numpy(np.ascontiguousarray(values)) for values in inputs]
        packed = model._inputs_struct if hasattr(model, "_inputs_struct") else None
        with torch.no_grad():
            answer = model(_like(packed, given), training=False)
        parts = answer if isinstance(answer, list | tuple) else list(answer.values()) if isinstance(answer, dict) else [answer]
        return [part.detach().cpu().numpy() for part in parts]

    return run


def _like(structure: Any, flat: list[Any]) -> Any:
    """The inputs in the form in which a functional model takes them."""
    import keras

    return flat[0] if structure is None else keras.tree.pack_sequence_as(structure, flat)


def _write_layers(
    asked: NetworkAsked,
    model: Any,
    declared: Declared,
    converted: Converted,
    *,
    source: str,
    digest: str,
    facts: Mapping[str, str],
) -> Written:
    network = SequentialNetwork(declared)
    network.load(converted.weights)
    schema = declared.schema()
    below = declared.embedding.vocabulary if declared.embedding is not None else None
    given = asked.options.sample
    sample = read_sample(Path(given), schema) if given else generated_sample(schema, below=below)
    run = _answered(model)
    made = network.network(
        sample,
        raw=lambda rows: run([rows])[0],
        source=source,
        source_digest=digest,
        recipe=recipe_text(declared, {}),
        facts=facts,
        notices=[],
    )
    return Written(*write_network(made, Path(asked.folder), sample, is_given=bool(given)))


def _write_graph(
    asked: NetworkAsked, model: Any, *, source: str, digest: str, facts: Mapping[str, str], notices: list[str]
) -> Written:
    inputs = [tensor.name.partition(":")[0] for tensor in model.inputs]
    run = _answered(model)
    content = _exported(model, Path(asked.folder), inputs)
    graph_inputs, graph_outputs = read_graph_tensors(content)
    specs = input_specs(graph_inputs, unranked=frozenset())
    signature = Signature(specs, output_specs(graph_outputs, unranked=frozenset(), ranks={}))
    schema = schema_of(signature, is_batched=True)
    if asked.options.sample and not schema.features:
        raise InvalidData("a sample is read for inputs of a fixed shape, and this model has others; import it without one")
    if asked.options.sample:
        sample = read_sample(Path(asked.options.sample), schema)
    else:
        sample = _sample_that_runs(run, [GraphInput(one.name, datatype_of(one, "input"), one.axes) for one in graph_inputs])
    names = [spec.name for spec in signature.outputs]

    def answer(batch: Batch) -> Mapping[str, Array]:
        return dict(zip(names, run([batch[spec.name] for spec in specs]), strict=True))

    made = Network(
        graph=content,
        signature=signature,
        schema=schema,
        answer=answer,
        source=source,
        source_digest=digest,
        architecture=ARCHITECTURE,
        facts=facts,
        notices=notices,
    )
    return Written(*write_network(made, Path(asked.folder), sample, is_given=bool(asked.options.sample)))


def _sample_that_runs(run: Callable[[list[Array]], list[Array]], inputs: list[GraphInput]) -> Batch:
    """Generated inputs that the model takes. Raises InvalidData where none were found."""
    for sample in generated_inputs(inputs, num_rows=GENERATED_ROWS):
        try:
            run(list(sample.values()))
        except (RuntimeError, ValueError, IndexError, TypeError):
            continue
        return sample
    raise InvalidData("no values were found that the model takes; give some of its own as --sample FILE")


def _exported(model: Any, folder: Path, inputs: list[str]) -> bytes:
    """The model's graph, with its inputs and outputs called as the model calls them."""
    import onnx

    _answered(model)([np.zeros(_ones(tensor.shape), dtype=str(tensor.dtype)) for tensor in model.inputs])
    path = folder / GRAPH
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporters speak of their own inner matters
            model.export(path, format="onnx", verbose=False)
        graph = onnx.load_model(path)
    except BUILDING as problem:
        first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise InvalidData(
            f"the model cannot be written as a graph: {first[:300]}; export it as ONNX where it was made:"
            ' model.export("model.onnx", format="onnx")'
        ) from None
    finally:
        path.unlink(missing_ok=True)
    given, wanted = [one.name for one in graph.graph.output], _output_names(model)
    outputs = dict(zip(given, wanted, strict=True)) if len(given) == len(wanted) else {}
    return _renamed(graph, {**dict(zip([one.name for one in graph.graph.input], inputs, strict=True)), **outputs})


def _ones(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(extent or 1 for extent in shape)


def _renamed(model: Any, outside: Mapping[str, str]) -> bytes:
    """The graph as bytes, with these names outside, and none of its own that could meet them."""
    from onnx import compose

    from modeltap.bundle.join import strip_incidentals
    from modeltap.importing.sequential_bundle import INNER

    prefixed = compose.add_prefix(model, INNER)
    named = {INNER + inner: name for inner, name in outside.items()}
    for node in prefixed.graph.node:
        for names in (node.input, node.output):
            names[:] = [named.get(name, name) for name in names]
    for value in (*prefixed.graph.input, *prefixed.graph.output):
        value.name = named.get(value.name, value.name)
    strip_incidentals(prefixed)
    content: bytes = prefixed.SerializeToString(deterministic=True)
    return content


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def main() -> None:
    answer_with(read_keras)


if __name__ == "__main__":
    main()
