"""A fitted scikit-learn model → one graph from typed columns to its answers: boosted trees written by us, the rest by skl2onnx.

skl2onnx computes with float32, and is wrong in silence about some models. What it wrote counts for nothing until its answers
were compared (`skops_child`). Letters: N rows, F columns, C classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np

from modeltap.bundle.join import PREDICTION
from modeltap.data.graph import GraphWriter
from modeltap.data.rows import input_spec
from modeltap.domain.dataset import Schema
from modeltap.domain.features import FEATURES, FeatureSpec
from modeltap.domain.signature import ONNX_IR_VERSION, ONNX_ML_OPSET, ONNX_OPSET, TensorSpec
from modeltap.errors import InvalidData
from modeltap.importing.skops_columns import Facts
from modeltap.importing.skops_file import parts_of
from modeltap.training.trees import trees_graph

BOOSTED = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")
OURS = "modeltap"
TELL_MARGINS = ("SGDClassifier", "SVC", "NuSVC")
"""What skl2onnx otherwise gives other scores of."""
VECTORIZERS = ("CountVectorizer", "TfidfVectorizer")
LOG_LINKS = ("poisson", "gamma")
Number = Literal["FP32", "FP64"]
Gives = Literal["probabilities", "margins", "values", "vectors", "groups"]


class Answer(NamedTuple):
    """What the model is asked for: the method of scikit-learn, and what it gives."""

    method: str
    gives: Gives
    num_classes: int = 0


def answer_of(model: Any) -> Answer:
    """Raises InvalidData for a model that answers in several pieces, or in none."""
    from sklearn.base import is_classifier, is_regressor

    if is_classifier(model):
        classes = model.classes_
        if isinstance(classes, list) or np.ndim(classes) != 1:
            raise InvalidData("the classifier gives several answers a row; export a model for each of them")
        if hasattr(model, "predict_proba"):
            return Answer("predict_proba", "probabilities", len(classes))
        if hasattr(model, "decision_function"):
            return Answer("decision_function", "margins", len(classes))
        raise InvalidData(
            f"the {type(model).__name__} gives no probabilities; wrap it in CalibratedClassifierCV before it is fitted"
        )
    if is_regressor(model):
        return Answer("predict", "values")
    if hasattr(model, "predict"):
        return Answer("predict", "groups")
    if hasattr(model, "transform"):
        return Answer("transform", "vectors")
    raise InvalidData(f"the {type(model).__name__} neither predicts nor transforms")


class Written(NamedTuple):
    """`front` gives what `inner` takes, and that ends in PREDICTION."""

    front: Any
    inner: Any
    writer: str


def write_graph(model: Any, facts: Sequence[Facts], schema: Schema, answer: Answer, *, numbers: Number) -> Written:
    """The graph, computed with such numbers where its parts can be. Raises InvalidData for what cannot be written."""
    before, last = _split(model)
    if type(last).__name__ in BOOSTED:
        return _boosted(before, last, facts, schema, answer, numbers)
    inner = _ended(_converted(model, facts, schema, numbers, options=_options(model, answer)), answer)
    return Written(_front(facts, schema, inner, numbers), inner, version_of_writer())


def ends_in_boosted(model: Any) -> bool:
    """Whether the last step is trees that are written by us."""
    return type(_split(model)[1]).__name__ in BOOSTED


def _split(model: Any) -> tuple[Any | None, Any]:
    """The steps before the last one, and the last one."""
    if type(model).__name__ != "Pipeline":
        return None, model
    before, last = model[:-1], model.steps[-1][1]
    if all(step is None or step == "passthrough" for _, step in before.steps):
        return None, last
    return before, last


def _boosted(
    before: Any | None, trees: Any, facts: Sequence[Facts], schema: Schema, answer: Answer, numbers: Number
) -> Written:
    from onnx import TensorProto, compose

    asked = getattr(trees, "is_categorical_", None)
    if asked is not None and np.any(asked):
        raise InvalidData(
            "the boosted trees split categories by themselves (categorical_features), which no graph writes; put an"
            " OrdinalEncoder before them, without categorical_features, and fit them anew"
        )
    spec = FeatureSpec(shape=(trees.n_features_in_,))
    codes = np.arange(answer.num_classes)
    told = SimpleNamespace(
        _predictors=trees._predictors,
        n_trees_per_iteration_=trees.n_trees_per_iteration_,
        _baseline_prediction=trees._baseline_prediction,
        classes_=codes,
    )
    graph = trees_graph(told, spec, num_classes=answer.num_classes)
    if before is None:
        if any(one.kind != "number" for one in facts):
            raise InvalidData("the boosted trees take texts, which no graph writes; put an OrdinalEncoder before them")
        graph.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
        return Written(_numbers(facts, schema), _through_link(graph, trees), OURS)
    converted = _converted(before, facts, schema, numbers, options=None)
    graph.graph.input[0].type.tensor_type.elem_type = converted.graph.output[0].type.tensor_type.elem_type
    features = converted.graph.output[0].name
    merged = compose.merge_models(
        compose.add_prefix(converted, "steps/"), graph, io_map=[(f"steps/{features}", FEATURES)], name="model"
    )
    for value in merged.graph.input:
        _rename(merged.graph, value.name, value.name.removeprefix("steps/"))
    return Written(_front(facts, schema, merged, numbers), _through_link(merged, trees), f"{OURS} and {version_of_writer()}")


def _through_link(graph: Any, trees: Any) -> Any:
    """What the trees add up is the logarithm of some targets."""
    if getattr(trees, "loss", None) not in LOG_LINKS:
        return graph
    _rename(graph.graph, PREDICTION, "logarithm")
    writer = GraphWriter("link")
    writer.node("Exp", ["logarithm"], out=PREDICTION)
    writer.append_to(graph.graph)
    graph.graph.output[0].name = PREDICTION
    return graph


def _converted(model: Any, facts: Sequence[Facts], schema: Schema, numbers: Number, *, options: dict[Any, Any] | None) -> Any:
    """The onnx.ModelProto that skl2onnx makes, with inputs named by their place."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    Numbers = FloatTensorType if numbers == "FP32" else DoubleTensorType
    if schema.form == "arrays":
        types = [("rows", Numbers([None, len(facts)]))]
    elif schema.form == "texts":
        types = [("rows", StringTensorType([None]))]
    elif getattr(model, "feature_names_in_", None) is not None and _selects_by_name(model):
        types = [(one.name, (Numbers if one.kind == "number" else StringTensorType)([None, 1])) for one in facts]
    elif all(one.kind == "number" for one in facts):
        types = [("rows", Numbers([None, len(facts)]))]
    elif all(one.kind != "number" for one in facts):
        types = [("rows", StringTensorType([None, len(facts)]))]
    else:
        raise InvalidData(
            "the model takes numbers and texts in one array; fit it on a table, with a ColumnTransformer by names"
        )
    opsets = {"": ONNX_OPSET, "ai.onnx.ml": ONNX_ML_OPSET}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = convert_sklearn(model, "model", types, options=options, target_opset=opsets)
    except MemoryError:
        raise
    except Exception as problem:  # noqa: BLE001  skl2onnx raises whatever its converters meet
        told = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:300]
        raise InvalidData(
            f"{version_of_writer()} cannot write the model as a graph ({told}); replace the part that it names, or export to"
            " ONNX by other means and import that"
        ) from None
    for at, value in enumerate(made.graph.input):
        _rename(made.graph, value.name, f"given_{at}")
    _set_versions(made)
    return made


def _selects_by_name(model: Any) -> bool:
    """Whether the first step is a table's ColumnTransformer, which takes each column by itself."""
    first = model
    while type(first).__name__ == "Pipeline":
        first = first.steps[0][1]
    return type(first).__name__ == "ColumnTransformer"


def _options(model: Any, answer: Answer) -> dict[Any, Any]:
    last = _split(model)[1]
    options: dict[Any, Any] = {}
    if answer.gives == "probabilities":
        options[id(model)] = {"zipmap": False}
    elif answer.gives == "margins" and type(last).__name__ == "LinearSVC":
        options[id(last)] = {"raw_scores": True}
    elif answer.gives == "margins":
        raw = {"raw_scores": True} if type(last).__name__ in TELL_MARGINS else {}
        options[id(last)] = {"zipmap": False, **raw}
    for part in parts_of(model):
        if type(part).__name__ in VECTORIZERS:  # a locale of another name is not on every machine
            options[id(part)] = {"locale": "C"}
    return options


def _ended(graph: Any, answer: Answer) -> Any:
    """The graph with PREDICTION as its only output: the last one of a classifier, else the first."""
    from onnx import TensorProto, helper

    chosen = graph.graph.output[-1 if answer.num_classes else 0].name
    writer = GraphWriter("ending")
    plain = writer.cast(chosen, "FP32")
    if answer.gives == "margins" and answer.num_classes == 2:  # one column, or the last one of two
        flat = writer.node("Reshape", [plain, writer.constant([0, -1], np.int64)])
        last = writer.node("Gather", [flat, writer.constant([-1], np.int64)], axis=1)
        plain = writer.node("Concat", [writer.node("Neg", [last]), last], axis=1)
    if answer.gives == "values":
        shape: list[Any] = ["batch"]
        writer.node("Reshape", [plain, writer.constant([-1], np.int64)], out=PREDICTION)
    else:
        width = answer.num_classes or None
        shape = ["batch", width]
        if answer.gives == "groups":
            writer.node("Reshape", [plain, writer.constant([-1, 1], np.int64)], out=PREDICTION)
        else:
            writer.node("Identity", [plain], out=PREDICTION)
    writer.append_to(graph.graph)
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info(PREDICTION, TensorProto.FLOAT, shape))
    return graph


def _front(facts: Sequence[Facts], schema: Schema, inner: Any, numbers: Number) -> Any:
    """Typed columns → what the inner graph takes: such numbers, and texts with missing ones filled in."""
    writer = GraphWriter("columns")
    columns = [input_spec(column) for column in schema.columns]
    given = [value.name for value in inner.graph.input]
    outputs = []
    if schema.form == "arrays":
        writer.cast(columns[0].name, numbers, out=given[0])
        outputs.append(TensorSpec(given[0], numbers, (-1, len(facts))))
    elif schema.form == "texts":
        writer.node("Identity", [columns[0].name], out=given[0])
        outputs.append(TensorSpec(given[0], "BYTES", (-1,)))
    elif len(given) == len(facts):
        for one, name in zip(facts, given, strict=True):
            kind: Any = numbers if one.kind == "number" else "BYTES"
            writer.node("Unsqueeze", [_typed(writer, one, numbers), writer.constant([1], np.int64)], out=name)
            outputs.append(TensorSpec(name, kind, (-1, 1)))
    else:
        kind = numbers if facts[0].kind == "number" else "BYTES"
        axis = writer.constant([1], np.int64)
        columns_N1 = [writer.node("Unsqueeze", [_typed(writer, one, numbers), axis]) for one in facts]
        writer.node("Concat", columns_N1, axis=1, out=given[0])
        outputs.append(TensorSpec(given[0], kind, (-1, len(facts))))
    return writer.model(columns, outputs)


def _typed(writer: GraphWriter, one: Facts, numbers: Number) -> str:
    if one.kind == "number":
        return writer.cast(one.name, numbers)
    if one.fill is None:
        return writer.node("Identity", [one.name])
    is_missing = writer.node("Equal", [one.name, writer.constant([""], object)])
    return writer.node("Where", [is_missing, writer.constant([one.fill], object), one.name])


def _numbers(facts: Sequence[Facts], schema: Schema) -> Any:
    """Typed columns → FEATURES, float64."""
    writer = GraphWriter("columns")
    columns = [input_spec(column) for column in schema.columns]
    if schema.form == "arrays":
        writer.node("Identity", [columns[0].name], out=FEATURES)
    else:
        axis = writer.constant([1], np.int64)
        writer.node("Concat", [writer.node("Unsqueeze", [one.name, axis]) for one in facts], axis=1, out=FEATURES)
    return writer.model(columns, [TensorSpec(FEATURES, "FP64", (-1, len(facts)))])


def _rename(graph: Any, name: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if one == name else one for one in names]
    for value in (*graph.input, *graph.output):
        if value.name == name:
            value.name = new


def _set_versions(model: Any) -> None:
    """It was asked for these, and tells the least that would do."""
    model.ir_version = ONNX_IR_VERSION
    wanted = {"": ONNX_OPSET, "ai.onnx.ml": ONNX_ML_OPSET}
    others = [(entry.domain, entry.version) for entry in model.opset_import if entry.domain not in wanted]
    del model.opset_import[:]
    for domain, version in (*wanted.items(), *others):
        model.opset_import.add(domain=domain, version=version)


def version_of_writer() -> str:
    from importlib.metadata import version

    return f"skl2onnx {version('skl2onnx')}"
