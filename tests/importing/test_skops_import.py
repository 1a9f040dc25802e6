"""scikit-learn models come as .skops files, from raw columns to answers, and answer as scikit-learn does; what is wrong or not
scikit-learn's is refused by name."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn_models
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from modeltap.bundle.files import CARD, open_bundle
from modeltap.data.rows import RowReader
from modeltap.engines.probation import try_bundle
from modeltap.engines.select import open_engine
from modeltap.errors import InvalidData
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.kinds import import_any
from modeltap.importing.network_asking import Written
from modeltap.importing.skops_child import write_model
from modeltap.importing.skops_file import SkopsModel, read_skops

NEAR = 1e-5


def made(model: Any, folder: Path, *, sample: Path | None = None) -> tuple[Written, dict[str, Path]]:
    """The bundle of the model, made in this process."""
    folder.mkdir()
    written = write_model(SkopsModel(model, []), folder, sample=sample, source_digest="0")
    return written, {path.name: path for path in folder.iterdir()}


def answers(files: dict[str, Path], rows: list[dict[str, Any]]) -> dict[str, Any]:
    bundle = open_bundle(files)
    return open_engine(bundle).run(RowReader(bundle.manifest.schema).rows(rows))


def wire(num: int = 40) -> list[dict[str, Any]]:
    """Rows of the table as JSON has them."""
    rows = sklearn_models.table().head(num).to_dicts()
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("name", ["logistic", "forest", "boosted"])
def test_a_pipeline_of_raw_columns_answers_as_scikit_learn_does(tmp_path: Path, name: str) -> None:
    model = getattr(sklearn_models, name)()
    written, files = made(model, tmp_path / "bundle")
    manifest = open_bundle(files).manifest
    assert manifest.task == "tabular-classification" and manifest.labels == ("high", "low", "middle")
    kinds = {column.name: column.kind for column in manifest.schema.features}
    assert kinds == {"age": "number", "hours": "number", "job": "category", "city": "category"}
    assert written.compared.difference < NEAR and written.compared.source.startswith("scikit-learn")
    given = answers(files, wire())
    rows = sklearn_models.table().head(40)
    assert np.abs(given["probabilities"] - model.predict_proba(rows)).max() < NEAR
    assert given["label"].tolist() == model.predict(rows).tolist()
    assert len(open_bundle(files).golden.rows) == 8 and "OneHotEncoder" not in files[CARD].read_text()
    try_bundle(files)


@pytest.mark.parametrize("name", ["boosted_numbers", "ridge"])
def test_a_number_is_predicted_as_scikit_learn_does(tmp_path: Path, name: str) -> None:
    model = getattr(sklearn_models, name)()
    _, files = made(model, tmp_path / "bundle")
    assert open_bundle(files).manifest.task == "tabular-regression"
    expected = model.predict(sklearn_models.table().head(40))
    given = answers(files, wire())["prediction"]
    assert (np.abs(given - expected) / np.maximum(1, np.abs(expected))).max() < NEAR


def test_what_skl2onnx_writes_wrongly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"min_frequency|cannot be run"):
        made(sklearn_models.rare(), tmp_path / "bundle")


def test_categories_that_trees_split_by_themselves_are_refused(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = np.stack([chance.normal(size=300), np.arange(300) % 7], axis=1)
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features=[1]).fit(rows, np.arange(300) % 7 == 3)
    with pytest.raises(InvalidData, match=r"categorical_features.*OrdinalEncoder"):
        made(model, tmp_path / "bundle")


def test_numbers_without_names_are_an_array_and_large_ones_keep_their_digits(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    rows = np.stack([1.7e9 + chance.normal(size=300) * 9e4, chance.normal(size=300)], axis=1)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rows[:, 0] > 1.7e9)
    _, files = made(model, tmp_path / "bundle")
    manifest = open_bundle(files).manifest
    assert [(c.name, c.kind, c.shape, c.datatype) for c in manifest.schema.features] == [("x", "array", (2,), "FP64")]
    given = open_engine(open_bundle(files)).run({"x": rows})["probabilities"]
    assert np.abs(given - model.predict_proba(rows)).max() < NEAR
    assert manifest.labels == ("False", "True")


@pytest.mark.parametrize("last", [LinearSVC(), RidgeClassifier(), SVC()], ids=lambda one: type(one).__name__)
def test_distances_are_told_as_such_or_refused(tmp_path: Path, last: Any) -> None:
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(200, 3))
    model = last.fit(rows, np.array(["no", "yes"])[(rows[:, 0] > 0).astype(int)])
    try:
        written, files = made(model, tmp_path / "bundle")
    except InvalidData as refused:
        assert isinstance(last, SVC) and "differ" in refused.message
        return
    given = open_engine(open_bundle(files)).run({"x": rows})
    assert np.abs(given["scores"][:, 1] - model.decision_function(rows)).max() < NEAR
    assert given["label"].tolist() == model.predict(rows).tolist()
    assert any("no probabilities" in notice for notice in written.notices)


def test_texts_are_read_as_scikit_learn_reads_them(tmp_path: Path) -> None:
    texts = ["the cat sat on the mat", "dogs bark at night", "stocks rose today", "the bank raises rates"] * 20
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["pets", "pets", "money", "money"] * 20)
    _, files = made(model, tmp_path / "bundle")
    assert open_bundle(files).manifest.task == "text-classification"
    asked = ["The BANK rose, today!", "a cat at night", "nothing known"]
    given = answers(files, [{"text": text} for text in asked])
    assert np.abs(given["probabilities"] - model.predict_proba(asked)).max() < NEAR


def test_rows_that_were_given_are_compared_first_and_become_golden(tmp_path: Path) -> None:
    sample = tmp_path / "rows.json"
    sample.write_text(json.dumps(wire(5)))
    written, files = made(sklearn_models.logistic(), tmp_path / "bundle", sample=sample)
    assert written.compared.is_given and written.compared.rows == 256 + 5
    assert [row["job"] for row in open_bundle(files).golden.rows][:5] == [row["job"] for row in wire(5)]


def test_the_file_becomes_a_bundle_by_a_confined_process(tmp_path: Path) -> None:
    files, bundle = tmp_path / "files", tmp_path / "bundle"
    files.mkdir(), bundle.mkdir()
    sklearn_models.write(sklearn_models.boosted(), files / "model.skops")
    imported = import_any(files, bundle, ImportOptions())
    assert imported.manifest.architecture == "scikit-learn" and imported.compared is not None
    assert imported.compared.difference < NEAR and imported.compared.rows == 256
    try_bundle(imported.files)


def _schema(**changes: Any) -> dict[str, Any]:
    inner = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {}, "key_types": {}}
    whole = {"__class__": "LogisticRegression", "__module__": "sklearn.linear_model._logistic", "__loader__": "ObjectNode"}
    return {**whole, "content": inner, "protocol": 2, "_skops_version": "0.16.0", **changes}


def _skops(schema: Any, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("schema.json", schema if isinstance(schema, bytes) else json.dumps(schema))
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def _part(module: str, name: str, loader: str, **content: Any) -> dict[str, Any]:
    return {"__class__": name, "__module__": module, "__loader__": loader, "content": content or None}


HOSTILE = {
    "a class of another library": (_schema(__class__="Popen", __module__="subprocess"), "subprocess.Popen"),
    "a method": (_schema(more=_part("builtins", "method", "MethodNode")), "builtins.method"),
    "an operator": (_schema(more=_part("builtins", "methodcaller", "OperatorFuncNode")), "builtins.methodcaller"),
    "a function of the system": (_schema(more=_part("os", "function", "FunctionNode")), "os.function"),
    "a function of Python's own": (
        _part("builtins", "function", "FunctionNode", module_path="builtins", function="eval") | {"protocol": 2},
        "not scikit-learn's own",
    ),
    "a class deep inside": (_schema(content={"a": [{"b": _part("torch.hub", "load", "TypeNode")}]}), "torch.hub.load"),
    "no JSON": (b"{", "cannot be read"),
    "10,000 lists": (b"[" * 10_000, "cannot be read"),
    "1,000 dictionaries": (_schema(content=json.loads('{"a":' * 900 + "1" + "}" * 900)), "200 deep"),
    "a list": ([1, 2], "describes no object"),
    "a reader that there is not": (_schema(__loader__="NoSuchNode"), "cannot be read as skops reads it"),
    "an estimator that was never fitted": (_schema(), "cannot be read as skops reads it|never fitted"),
    "a dictionary": (
        {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {}, "key_types": 1, "protocol": 2},
        "cannot be read as skops|no scikit-learn estimator",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_not_scikit_learns_own_is_refused_by_name(tmp_path: Path, what: str) -> None:
    schema, told = HOSTILE[what]
    path = tmp_path / "model.skops"
    path.write_bytes(_skops(schema))
    with pytest.raises(InvalidData, match=told):
        read_skops(path)


def _changed(path: Path, ending: str, change: Any) -> Path:
    """The file with the arrays of that ending changed."""
    source = zipfile.ZipFile(path)
    with zipfile.ZipFile(path.with_name("changed.skops"), "w") as target:
        for info in source.infolist():
            content = source.read(info)
            target.writestr(info.filename, change(content) if info.filename.endswith(ending) else content)
    return path.with_name("changed.skops")


def test_a_tree_that_leads_out_of_itself_is_refused(tmp_path: Path) -> None:
    """Nobody looks when it is followed: it would read what lies beside it in memory."""

    def led_astray(content: bytes) -> bytes:
        nodes = np.load(io.BytesIO(content), allow_pickle=False)
        if not nodes.dtype.names or "left" not in nodes.dtype.names:
            return content
        nodes["left"][0] = 1_000_000
        out = io.BytesIO()
        np.save(out, nodes, allow_pickle=False)
        return out.getvalue()

    path = sklearn_models.write(sklearn_models.boosted(), tmp_path / "model.skops")
    with pytest.raises(InvalidData, match="a branch of a tree leads nowhere"):
        read_skops(_changed(path, ".npy", led_astray))


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '<f8'",
        b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(118),
        b"not an array",
        b"",
    ],
    ids=["a header of 4 GB", "objects", "text", "nothing"],
)
def test_arrays_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    path = sklearn_models.write(sklearn_models.ridge(), tmp_path / "model.skops")
    with pytest.raises(InvalidData, match="cannot be read as skops reads it"):
        read_skops(_changed(path, ".npy", lambda _: content))
