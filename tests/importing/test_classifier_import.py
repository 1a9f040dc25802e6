"""Classifiers of texts that others made: a directory of each family answers as transformers does, from text to label."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from foreign_classifiers import CONFIGS, LABELS, TEXTS, asked_of_transformers, make_classifier
from foreign_networks import answers, import_here

from modeltap.bundle.files import open_bundle
from modeltap.errors import InvalidData, MissingExtra
from modeltap.importing.classifier import find_classifier, import_classifier
from modeltap.importing.classifier_child import read_classifier
from modeltap.importing.import_options import ImportOptions


@pytest.mark.parametrize("family", [family for family in CONFIGS if family != "distilbert"])
def test_an_imported_classifier_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    """DistilBERT's goes through a server, in `e2e/`."""
    source = tmp_path / "source"
    make_classifier(source, family)
    assert find_classifier(source) == source
    (tmp_path / "texts.txt").write_text("the film is good\na bad day\n")
    given = {"sample": str(tmp_path / "texts.txt")} if family == "bert" else {}
    files, written = import_here(read_classifier, source, tmp_path / "bundle", **given)
    served = answers(files, text=np.array(TEXTS, dtype=object))
    expected = asked_of_transformers(source, TEXTS)
    np.testing.assert_allclose(served["prediction"], expected, atol=2e-6)
    assert served["label"].tolist() == [LABELS[place] for place in expected.argmax(axis=1)]
    assert len({tuple(row) for row in expected.round(2).tolist()}) > 1, "texts are told apart"
    assert written.notices == [] and written.compared.difference < 1e-5
    assert written.compared.source == f"transformers {transformers.__version__}"
    bundle = open_bundle(files)
    assert bundle.manifest.labels == tuple(LABELS.values())
    assert written.compared.is_given == bool(given)
    if given:
        assert bundle.golden.rows[:2] == [{"text": "the film is good"}, {"text": "a bad day"}]


def test_what_cannot_be_served_is_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_classifier(source, "bert")
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("problem_type", {"problem_type": "multi_label_classification"}, "multi_label.*one label a text"),
        ("labels", {"id2label": {"0": "a", "1": "b"}}, "2 labels, and the last layer gives 3"),
        ("twice", {"id2label": {"0": "a", "1": "b", "2": "a"}}, "a label twice"),
        ("numbers", {"id2label": {"0": "a", "7": "b", "2": "c"}}, "number its labels from 0"),
        ("code", {"auto_map": {"AutoModel": "evil.Model"}}, "auto_map"),
        ("quantized", {"quantization_config": {"quant_method": "gptq"}}, "was quantized"),
    ]
    for name, changes, told in wrong:
        broken = shutil.copytree(source, tmp_path / name)
        config = {**json.loads((source / "config.json").read_text()), **changes}
        (broken / "config.json").write_text(json.dumps(config))
        with pytest.raises(InvalidData, match=told):
            import_here(read_classifier, broken, tmp_path / f"bundle-{name}")
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(InvalidData, match=r"no model\.safetensors.*save_pretrained"):
        import_here(read_classifier, source, tmp_path / "pickled")


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"modeltap\[train\]"):
        import_classifier(tmp_path, tmp_path, ImportOptions())
