"""A bundle's files: the same bytes for the same training, readable by anyone, refused when damaged."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import onnx
import pytest
from workshop import Workshop

from modeltap.bundle.background import BACKGROUND
from modeltap.bundle.card import write_card
from modeltap.bundle.files import ARCHITECTURE, CARD, GOLDEN, GRAPH, MANIFEST, RECIPE, WEIGHTS, bundle_files, open_bundle
from modeltap.bundle.golden import Golden
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.errors import Broken
from modeltap.recipe.document import load_document
from modeltap.recipe.parse import parse_recipe

TABLE = "x,c,y\n" + "\n".join(f"{n % 7},{'ab'[n % 3 == 0]},{'pq'[n % 2]}" for n in range(80))
RECIPE_YAML = {"model": {"architecture": "mlp", "hidden": [4]}, "epochs": 2, "threads": 1}


@pytest.fixture(scope="module")
def twice(workshop: Workshop) -> list[dict[str, bytes]]:
    """The same training done two times."""
    workshop.add("bundled", TABLE, target="y")
    versions = [workshop.train("bundled", "tabular-classification", RECIPE_YAML, name=name) for name in ("one", "two")]
    return [{name: path.read_bytes() for name, path in workshop.files(done["version"]).items()} for done in versions]


def test_equal_trainings_give_equal_bytes_but_for_the_name_on_the_card(twice):
    one, two = twice
    assert set(one) == set(two) == {MANIFEST, GRAPH, GOLDEN, CARD, RECIPE, WEIGHTS, ARCHITECTURE, BACKGROUND}
    assert {name for name in one if one[name] != two[name]} <= {CARD}
    assert one[CARD].replace(b"# one", b"# two") == two[CARD]


def test_every_file_is_read_by_what_reads_its_kind(twice):
    from safetensors.numpy import load

    one, _ = twice
    manifest = json.loads(one[MANIFEST])
    assert manifest["format"] == 1 and manifest["labels"] == ["p", "q"] and manifest["engine"]["name"] == "onnxruntime"
    assert manifest["lineage"]["dataset"].startswith("bundled@") and manifest["metrics"]["test"]["accuracy"] >= 0
    onnx.checker.check_model(onnx.load_from_string(one[GRAPH]), full_check=True)
    assert len(json.loads(one[GOLDEN])["rows"]) >= 5
    assert all(isinstance(weights, np.ndarray) for weights in load(one[WEIGHTS]).values())
    assert parse_recipe(load_document(one[RECIPE].decode())).epochs == 2
    assert one[CARD].decode().startswith("# one\n") and "## Limits" in one[CARD].decode()


def test_no_file_tells_a_place_a_time_or_a_job(twice, workshop):
    for content in twice[0].values():
        for told in (b"/tmp", str(workshop.home).encode(), b"job-", b"2026-", b"/usr", b".py"):
            assert told not in content


def test_a_bundle_that_is_damaged_is_refused_with_the_reason(twice, tmp_path):
    def opened(**changed: bytes | None):
        files = {}
        for name, content in {**twice[0], **changed}.items():
            if content is not None:
                files[name] = tmp_path / name
                files[name].write_bytes(content)
        return open_bundle(files)

    assert opened().manifest.labels == ("p", "q")
    with pytest.raises(Broken, match=r"no 'golden\.json'"):
        opened(**{GOLDEN: None})
    with pytest.raises(Broken, match="cannot be read"):
        opened(**{MANIFEST: twice[0][MANIFEST][:100]})
    with pytest.raises(Broken, match="cannot be read"):
        opened(**{GOLDEN: b"\xff\xfe"})
    newer = {**json.loads(twice[0][MANIFEST]), "format": 99}
    with pytest.raises(Broken, match=r"format 99.*update modeltap"):
        opened(**{MANIFEST: json.dumps(newer).encode()})
    gone = {name: tmp_path / name for name in twice[0]}
    gone[MANIFEST] = tmp_path / "gone"
    with pytest.raises(Broken, match="cannot be read: No such file"):
        open_bundle(gone)


def manifest_of(*columns: Column, labels: tuple[str, ...] = ()) -> Manifest:
    lineage = Lineage(dataset="d@1", dataset_digest="0" * 64, recipe_digest="1" * 64, code_version="0.1.0", seed=0, threads=1)
    return Manifest(
        task="tabular-classification",
        architecture="mlp",
        signature=Signature((TensorSpec("x", "FP64", (-1,)),), (TensorSpec("prediction", "FP32", (-1, 2)),)),
        engine=EngineChoice(),
        schema=Schema(form="table", columns=columns),
        output="prediction",
        labels=labels,
        lineage=lineage,
        metrics={"test": {"accuracy": 0.5, "accuracy_interval": [0.25, 0.75], "r2": None}},
    )


def test_a_card_survives_names_that_are_markdown():
    manifest = manifest_of(Column(name="a|b`c\nd", kind="number"), labels=("x|y", "z"))
    slices = [{"column": "a|b", "value": "c\nd", "num_rows": 3, "metrics": {"accuracy": 0.5}}]
    card = write_card(manifest, name="m", summary="rows → classes", num_rows={"train": 1000, "test": 10}, slices=slices)
    assert "| a\\|b'c d | number |" in card and "`x\\|y`" in card and "| a\\|b | c d | 3 | 0.5 |" in card
    assert "1,000 train, 10 test rows" in card and "| test | accuracy | 0.5 | 0.25 – 0.75 |" in card


def test_weights_and_architecture_are_there_only_where_there_are_weights():
    golden = Golden(rows=[], answers={}, environment={})
    manifest = manifest_of(Column(name="x", kind="number"))
    plain = {"manifest": manifest, "graph": b"g", "golden": golden, "card": "c", "recipe_yaml": "r", "architecture": {}}
    assert set(bundle_files(**plain, weights={})) == {MANIFEST, GRAPH, GOLDEN, CARD, RECIPE}
    with_weights = bundle_files(**plain, weights={"b": np.ones((2, 3))[:, ::-1], "a": np.zeros(1)})
    assert {WEIGHTS, ARCHITECTURE} <= set(with_weights)
    assert msgspec.json.decode(with_weights[MANIFEST], type=Manifest) == manifest
