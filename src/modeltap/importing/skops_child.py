"""Reads a .skops file and writes the bundle of its model, in a confined process of its own, started by `importing/skops.py`.

Letters: N rows, C classes.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.bundle.join import join_graphs
from modeltap.data.rows import input_spec
from modeltap.domain.dataset import Schema
from modeltap.domain.signature import Array, Batch, Signature
from modeltap.engines.onnx import OnnxEngine
from modeltap.errors import Broken, InvalidData
from modeltap.importing.network_asking import NetworkAsked, Written, answer_with, digest_of
from modeltap.importing.network_bundle import Network, write_network
from modeltap.importing.samples import read_sample
from modeltap.importing.skops_columns import Facts, read_columns
from modeltap.importing.skops_file import SkopsModel, parts_of, read_skops
from modeltap.importing.skops_graph import Answer, Number, answer_of, ends_in_boosted, write_graph
from modeltap.importing.skops_rows import NO_GAPS, generated_rows, schema_of, sklearn_rows
from modeltap.tasks import tabular_classification, tabular_regression, tensors, text_classification

ARCHITECTURE = "scikit-learn"
MOST_DIFFERENCE = 1e-5
"""Relative to the larger of 1 and the number."""
NUMBERS: tuple[Number, ...] = ("FP32", "FP64")
"""skl2onnx writes more models with the first, and some exactly enough only with the second. Boosted trees ask for values that
training had, which the first rounds away: they are tried with the second one before."""
OUTPUTS = {
    "probabilities": "probabilities",
    "margins": "scores",
    "values": "prediction",
    "vectors": "vector",
    "groups": "group",
}
MARGINS = "its scores are the distances that decision_function tells, and no probabilities"


def read_model(asked: NetworkAsked) -> Written:
    """Writes the bundle. Raises InvalidData for a file that is no scikit-learn model, and for a graph that differs."""
    path = Path(asked.source)
    sample = Path(asked.options.sample) if asked.options.sample else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = read_skops(path)
        return write_model(read, Path(asked.folder), sample=sample, source_digest=digest_of([path]))


class Tried(NamedTuple):
    """A graph that was run, and which of the rows it answered as scikit-learn does."""

    content: bytes
    signature: Signature
    writer: str
    is_right: NDArray[np.bool_]
    difference: float


def write_model(read: SkopsModel, target: Path, *, sample: Path | None, source_digest: str) -> Written:
    """Writes the bundle of the model into `target`. Raises InvalidData."""
    from sklearn import __version__

    answer = answer_of(read.model)
    facts, is_named = read_columns(read.model)
    schema = schema_of(facts, is_named=is_named)
    labels = _labels(read.model, answer)
    model = _by_place(read.model)
    ask = getattr(model, answer.method)
    generated = generated_rows(facts, schema, ask)
    rows, has_gap_N, notices = generated.rows, generated.has_gap, [*read.notices, *generated.notices]
    if sample is not None:
        given = read_sample(sample, schema)
        rows = {name: np.concatenate([given[name], values]) for name, values in rows.items()}
        has_gap_N = np.concatenate([np.zeros(len(given[schema.columns[0].name]), dtype=np.bool_), has_gap_N])
    expected = _dense(ask(sklearn_rows(rows, facts)), answer)
    source = f"scikit-learn {__version__}"
    asked = Asked(read.model, facts, schema, answer, labels, rows, expected, source)
    tried = _first_right(asked, has_gap_N)
    if not tried.is_right.all():
        notices.append(NO_GAPS.format("a number"))
        rows = {name: values[~has_gap_N] for name, values in rows.items()}
    output = tried.signature.outputs[0].name
    if labels:
        _check_labels(_run(tried.content, tried.signature, rows), model.predict(sklearn_rows(rows, facts)), output, source)
    network = Network(
        graph=tried.content,
        signature=tried.signature,
        schema=schema,
        answer=lambda batch: {output: _dense(ask(sklearn_rows(batch, facts)), answer)},
        source=source,
        source_digest=source_digest,
        architecture=ARCHITECTURE,
        task=_task(answer, schema),
        labels=labels,
        facts=_told(read.model, tried.writer, facts),
        notices=[*notices, *([MARGINS] if answer.gives == "margins" else [])],
    )
    return Written(*write_network(network, target, rows, is_given=sample is not None))


class Asked(NamedTuple):
    """What a graph must answer: `expected` is what scikit-learn gives for the rows."""

    model: Any
    facts: list[Facts]
    schema: Schema
    answer: Answer
    labels: tuple[str, ...]
    rows: Batch
    expected: Array
    source: str


def _first_right(asked: Asked, has_gap_N: NDArray[np.bool_]) -> Tried:
    """The first graph that is right for all rows, with float32 or else float64; else one that is right where no number is
    missing. Raises InvalidData of the first one where there is none."""
    nearly: Tried | None = None
    problem: InvalidData | None = None
    for numbers in NUMBERS if not ends_in_boosted(asked.model) else NUMBERS[::-1]:
        try:
            tried = _tried(asked, numbers)
        except InvalidData as found:
            problem = problem or found
            continue
        if tried.is_right.all():
            return tried
        if tried.is_right[~has_gap_N].all():
            nearly = nearly or tried
        problem = problem or _differs(asked, tried)
    if nearly is not None:
        return nearly
    assert problem is not None
    raise problem


def _tried(asked: Asked, numbers: Number) -> Tried:
    """Raises InvalidData for a model that cannot be written so, and for a graph that does not run."""
    front, inner, writer = write_graph(asked.model, asked.facts, asked.schema, asked.answer, numbers=numbers)
    inputs = tuple(input_spec(column) for column in asked.schema.columns)
    width = asked.expected.shape[1] if asked.expected.ndim == 2 else None
    name = OUTPUTS[asked.answer.gives]
    from onnx import checker, shape_inference

    try:
        joined, signature = join_graphs(front, inner, inputs=inputs, output=name, labels=asked.labels, width=width)
        content = joined.SerializeToString(deterministic=True)
        given = _run(content, signature, asked.rows)[signature.outputs[0].name]
    except (Broken, ValueError, checker.ValidationError, shape_inference.InferenceError) as problem:
        lines = str(problem).strip().splitlines() or [type(problem).__name__]
        raise InvalidData(f"the graph that {writer} wrote cannot be run: {lines[0][:300]}") from None
    if given.shape != asked.expected.shape:
        raise InvalidData(f"the graph of {writer} gives {list(given.shape)}, {asked.source} {list(asked.expected.shape)}")
    wanted = asked.expected.astype(np.float64)
    apart = np.abs(given.astype(np.float64) - wanted)
    far = np.where(given == wanted, 0.0, apart / np.maximum(1.0, np.abs(wanted)))
    is_right = np.asarray((far <= MOST_DIFFERENCE).reshape(len(far), -1).all(axis=1))
    return Tried(content, signature, writer, is_right, float(np.nanmax(apart, initial=0.0)))


def _run(content: bytes, signature: Signature, rows: Batch) -> Batch:
    return OnnxEngine(content, signature).run(rows)


def _differs(asked: Asked, tried: Tried) -> InvalidData:
    wrong = int((~tried.is_right).sum())
    return InvalidData(
        f"the graph that {tried.writer} wrote does not repeat {asked.source}: {wrong} of {len(tried.is_right)} rows differ,"
        f" by up to {tried.difference:.3g}; it is not imported. Some parts are written wrongly, such as"
        " OneHotEncoder(min_frequency=…); replace such a part, or export to ONNX by other means and import that"
    )


def _check_labels(answered: Batch, predicted: Any, output: str, source: str) -> None:
    """Raises InvalidData where the label is another one than scikit-learn predicts, and no tie."""
    label = next(name for name in answered if name != output)
    best_N2 = np.sort(np.asarray(answered[output], dtype=np.float64), axis=1)[:, -2:]
    is_tied_N = best_N2[:, -1] - best_N2[:, 0] <= MOST_DIFFERENCE
    right_N = np.asarray([_label(one) for one in np.asarray(predicted).tolist()], dtype=object)
    other_N = (np.asarray(answered[label]) != right_N) & ~is_tied_N
    if other_N.any():
        raise InvalidData(
            f"{source} predicts another class than the most probable one for {int(other_N.sum())} of {len(other_N)} rows, as"
            " SVC does; wrap it in CalibratedClassifierCV, and fit it anew"
        )


def _dense(answered: Any, answer: Answer) -> Array:
    """(N, C) or (N,) numbers; of two classes, whose one margin scikit-learn tells, both."""
    values = np.asarray(answered.toarray() if hasattr(answered, "toarray") else answered, dtype=np.float64)
    if answer.gives == "margins" and values.ndim == 1:
        return np.stack([-values, values], axis=1)
    if answer.gives == "values":
        if values.ndim == 2 and values.shape[1] != 1:
            raise InvalidData("the regressor gives several numbers a row; export a model for each of them")
        return values.reshape(-1)
    return values.reshape(len(values), -1)


def _labels(model: Any, answer: Answer) -> tuple[str, ...]:
    if not answer.num_classes:
        return ()
    labels = tuple(_label(value) for value in model.classes_.tolist())
    if len(set(labels)) != len(labels):
        raise InvalidData("two classes of the model are called the same, as text")
    return labels


def _label(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _task(answer: Answer, schema: Schema) -> str:
    if answer.num_classes:
        return text_classification.TASK.name if schema.form == "texts" else tabular_classification.TASK.name
    return tabular_regression.TASK.name if answer.gives == "values" and schema.form != "texts" else tensors.TASK.name


def _by_place(model: Any) -> Any:
    """The model for rows that are arrays: what selects columns of a table by name selects the same ones by place."""
    copied = copy.deepcopy(model)
    for part in parts_of(copied):
        vars(part).pop("feature_names_in_", None)
        if type(part).__name__ == "ColumnTransformer" and hasattr(part, "_transformer_to_input_indices"):
            places = part._transformer_to_input_indices
            part.transformers_ = [(name, inner, places[name]) for name, inner, _ in part.transformers_]
    return copied


def _told(model: Any, writer: str, facts: list[Facts]) -> dict[str, str]:
    steps = [type(part).__name__ for part in ([step for _, step in model.steps] if hasattr(model, "steps") else [model])]
    kinds = {kind: sum(one.kind == kind for one in facts) for kind in ("number", "category", "text")}
    columns = ", ".join(f"{count} of {kind}" for kind, count in kinds.items() if count)
    return {"scikit-learn": " → ".join(steps), "columns": columns, "graph written by": writer}


def main() -> None:
    answer_with(read_model)


if __name__ == "__main__":
    main()
