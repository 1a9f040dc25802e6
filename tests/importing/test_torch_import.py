"""Weights of torch's with the layers of their network: they answer as torch does, each tensor finds its layer or is named, and
nothing that could run code is opened."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from foreign_networks import NET_RECIPE, Net, answers, import_here, made
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import nn

from modeltap.bundle.files import ARCHITECTURE, RECIPE, WEIGHTS, open_bundle
from modeltap.domain.dataset import Column, Schema
from modeltap.errors import InvalidData, InvalidRecipe, MissingExtra
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.samples import read_sample
from modeltap.importing.state_dict import find_state_dict, import_state_dict
from modeltap.importing.state_dict_child import read_network
from modeltap.importing.state_dict_matching import LayerWeights, match_layers
from modeltap.importing.torch_file import read_weights
from modeltap.training.building import build_again

CNN_LAYERS = """
    - conv2d: {filters: 4, kernel: 3, padding: same, bias: false}
    - batchnorm: {epsilon: 0.00001}
    - activation: relu
    - maxpool2d: {size: 2}
    - flatten
    - dense: {units: 3, activation: softmax}
"""


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)
        self.reader = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.second = nn.GRU(10, 4, batch_first=True)
        self.last = nn.Linear(4, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        steps = self.second(self.reader(self.table(ids))[0])[0]
        return torch.softmax(self.last(steps[:, -1]), dim=1)


NETWORKS: dict[str, tuple[Any, str, Any]] = {
    "pictures with the channels first": (
        lambda: nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(2, 4, 3, padding=1, bias=False),
                norm=nn.BatchNorm2d(4),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),
                flat=nn.Flatten(),
                fc=nn.Linear(4 * 3 * 4, 3),
                softmax=nn.Softmax(1),
            )
        ),
        f"model:\n  input: {{name: x, shape: [2, 6, 8]}}\n  layers:{CNN_LAYERS}",
        np.random.default_rng(0).standard_normal((5, 2, 6, 8)).astype(np.float32),
    ),
    "a row's numbers, many in and many out": (
        lambda: nn.Sequential(nn.Linear(7, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 3)),
        """
model:
  input: {shape: [7], name: x}
  layers: [{dense: {units: 4, activation: tanh}}, {batchnorm: {epsilon: 0.00001}}, {dense: {units: 3}}]
""",
        np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32),
    ),
    "tokens through two recurrent layers": (
        Recurrent,
        """
model:
  input: {shape: [9], name: x}
  layers:
    - embedding: {vocabulary: 20, dim: 6}
    - lstm: {units: 5, return_sequences: true, bidirectional: true}
    - gru: {units: 4}
    - dense: {units: 2, activation: softmax}
""",
        np.random.default_rng(0).integers(0, 20, (5, 9)),
    ),
}


@pytest.mark.parametrize("what", NETWORKS)
def test_an_imported_network_answers_as_torch_does(tmp_path: Path, what: str) -> None:
    kind, recipe, inputs = NETWORKS[what]
    network = made(kind)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    files, written = import_here(read_network, tmp_path / "net.pth", tmp_path / "bundle", recipe=recipe)
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(answers(files, x=inputs)["y"], expected, atol=1e-6)
    assert written.notices == [] and written.compared.difference < 1e-5 and written.compared.source.startswith("torch ")
    if what.startswith("pictures"):  # and it can be trained on
        module = build_again(msgspec.json.decode(files[ARCHITECTURE].read_bytes()), load_file(files[WEIGHTS]))
        with torch.no_grad():
            shares = torch.softmax(module(torch.from_numpy(inputs)), dim=1).numpy()
        np.testing.assert_allclose(shares, expected, atol=1e-6)
        assert "task: image-classification" in files[RECIPE].read_text()
    for row in range(5):
        assert answers(files, x=inputs[row : row + 1])["y"].tobytes() == answers(files, x=inputs)["y"][row : row + 1].tobytes()


def test_a_single_sigmoid_is_two_classes(tmp_path: Path) -> None:
    network = made(lambda: nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()))
    torch.save(network.state_dict(), tmp_path / "net.pth")
    recipe = "model: {input: {name: x, shape: [4]}, layers: [{dense: {units: 1, activation: sigmoid}}]}"
    rows = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(rows)).numpy()
    options = {"recipe": recipe, "task": "tabular-classification"}
    files, _ = import_here(read_network, tmp_path / "net.pth", tmp_path / "bundle", **options)
    given = answers(files, x=rows)
    np.testing.assert_allclose(given["y"], np.concatenate([1 - expected, expected], axis=1), atol=1e-6)
    assert given["label"].tolist() == [str(int(share > 0.5)) for share in expected[:, 0]]


def test_a_sample_is_the_same_rows_in_every_form(tmp_path: Path) -> None:
    schema = Schema(form="arrays", columns=(Column(name="x", kind="array", shape=(2,), datatype="FP32"),), missing=())
    rows = np.array([[1, 2], [3, 4.5]], np.float32)
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "rows.npz", x=rows)
    (tmp_path / "rows.csv").write_text("1,2\n3,4.5\n")
    (tmp_path / "rows.json").write_text('[{"x": [1, 2]}, {"x": [3, 4.5]}]')
    (tmp_path / "rows.jsonl").write_text("[1, 2]\n[3, 4.5]\n")
    for ending in ("npy", "npz", "csv", "json", "jsonl"):
        np.testing.assert_array_equal(read_sample(tmp_path / f"rows.{ending}", schema)["x"], rows)
    np.save(tmp_path / "rows.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    for name, told in (("rows.npy", "holds objects"), ("rows.xlsx", "ends in one of")):
        with pytest.raises(InvalidData, match=told):
            read_sample(tmp_path / name, schema)


class Crossed(nn.Module):
    """Lists its layers otherwise than it uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 6)
        self.body = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.out(torch.tanh(self.body(x)))
        return y


NAMED = """
model:
  input: {name: x, shape: [6]}
  layers: [{dense: {name: body, units: 6, activation: tanh}}, {dense: {name: out, units: 6}}]
"""


def test_names_labels_and_rows_that_were_given_are_kept(tmp_path: Path) -> None:
    network = made(Crossed)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    rows = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    (tmp_path / "rows.json").write_text(msgspec.json.encode({"instances": rows.tolist()}).decode())
    options = {"recipe": f"task: tabular-classification{NAMED}", "labels": tuple("abcdef")}
    given = {**options, "sample": str(tmp_path / "rows.json")}
    files, written = import_here(read_network, tmp_path / "net.pth", tmp_path / "bundle", **given)
    with torch.no_grad():
        expected = torch.softmax(network(torch.from_numpy(rows)), dim=1).numpy()
    served = answers(files, x=rows)
    np.testing.assert_allclose(served["y"], expected, atol=1e-6)
    assert served["label"].tolist() == ["abcdef"[place] for place in expected.argmax(axis=1)]
    assert open_bundle(files).manifest.labels == tuple("abcdef")
    assert "body → body, out → out" in files["card.md"].read_text()
    assert written.compared.is_given and written.compared.rows == 3
    assert open_bundle(files).golden.rows == rows.tolist()
    (tmp_path / "rows.json").write_text("[[1, 2, 3]]")
    with pytest.raises(InvalidData, match=r"the sample does not fit: .*'x'"):
        import_here(read_network, tmp_path / "net.pth", tmp_path / "wrong", **given)


@pytest.mark.parametrize("form", ["safetensors", "a checkpoint", "two processes", "before archives", "an accelerator"])
def test_weights_are_read_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    state = made(Crossed).state_dict()
    path = tmp_path / ("net.safetensors" if form == "safetensors" else "net.pth")
    if form == "safetensors":
        save_file(state, path)
    elif form == "a checkpoint":
        torch.save({"epoch": 3, "model_state_dict": state, "optimizer": {"lr": 0.1}}, path)
    elif form == "two processes":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, path)
    elif form == "before archives":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        with monkeypatch.context() as patched:  # torch writes where each tensor was
            patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
            torch.save(state, path)
        assert b"cuda:0" in path.read_bytes()
    found = read_weights(path)
    assert {name: array.tolist() for name, array in found.arrays.items()} == {name: t.tolist() for name, t in state.items()}
    assert found.is_ordered == (form != "safetensors")
    assert [notice.split(";")[0] for notice in found.notices] == (
        ["of the checkpoint 'model_state_dict' was taken"] if form == "a checkpoint" else []
    )


def test_safetensors_keep_no_order_so_layers_that_look_alike_need_names(tmp_path: Path) -> None:
    save_file(made(Crossed).state_dict(), tmp_path / "net.safetensors")
    unnamed = NAMED.replace("name: body, ", "").replace("name: out, ", "")
    with pytest.raises(InvalidData, match=r"keeps no order.*2 fit layer 'dense_0' by shape; give the layers.*: body, out"):
        import_here(read_network, tmp_path / "net.safetensors", tmp_path / "bundle", recipe=unnamed)


def test_layers_that_differ_by_a_number_alone_are_taken_by_it() -> None:
    layers = [
        LayerWeights(f"dense_{n}", "dense", False, {"weight": f"dense_{n}.weight"}, {"weight": (3, 3)}) for n in range(12)
    ]
    matched = match_layers(layers, {f"body.{n}.weight": (3, 3) for n in sorted(map(str, range(12)))}, is_ordered=False)
    assert list(matched.pairs.values()) == [f"body.{n}" for n in range(12)]


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


def _state(**changes: Any) -> dict[str, Any]:
    return {**made(Net).state_dict(), **changes}


def _files() -> dict[str, tuple[Any, str]]:
    meta = {name: tensor.to("meta") for name, tensor in _state().items()}
    return {
        "a whole pickled model": (made(Net), r"class foreign_networks\.Net.*state_dict\(\)"),
        "an object that runs code": ({"w": Bomb()}, r"class (posix|nt)\.mkdir.*save its weights alone"),
        "one tensor": (torch.zeros(3), "one tensor without a name"),
        "a list": ([torch.zeros(3)], "holds a list"),
        "a number among the tensors": (_state(epoch=3), "'epoch' is a int"),
        "nothing": ({}, "no tensors"),
        "no numbers": (meta, "on the device 'meta'.*v.cpu()"),
        "sparse": (_state(**{"fc1.weight": torch.eye(10).to_sparse()}), r"'fc1.weight' is sparse.*to_dense"),
        "whole numbers": (_state(**{"fc1.weight": torch.eye(10, dtype=torch.int32)}), "'fc1.weight' holds int32"),
        "numbers that are none": (_state(**{"fc1.bias": torch.full((10,), torch.nan)}), "'fc1.bias'.*not finite"),
        "another shape": (_state(**{"fc1.weight": torch.zeros(10, 12)}), r"'fc1.weight' is \[10, 12\].*needs \[10, 10\]"),
        "a layer more": (_state(**{"fc3.weight": torch.zeros(1)}), "2 layers with weights.*3 groups.*fc3"),
        "no bias": (
            {name: tensor for name, tensor in _state().items() if name != "fc2.bias"},
            r"no 'fc2.bias', which layer 'dense_1' needs, of shape \[1\].*bias: false",
        ),
        "a weight in two parts": (_state(**{"fc1.weight_g": torch.zeros(10)}), "parametrized"),
    }


@pytest.mark.parametrize("what", _files())
def test_what_does_not_fit_or_could_run_code_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content, told = _files()[what]
    torch.save(content, "net.pth")
    with pytest.raises(InvalidData, match=told):
        import_here(read_network, tmp_path / "net.pth", tmp_path / "bundle", recipe=NET_RECIPE)
    assert not (tmp_path / "pwned").exists() and list((tmp_path / "bundle").iterdir()) == []


def test_files_of_another_kind_are_refused_by_name(tmp_path: Path) -> None:
    torch.save(_state(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    wrong = {
        "cut.pth": (content[: len(content) // 2], "damaged"),
        "text.pth": (b"hello", "damaged, or was not written by torch.save"),
        "plain.pth": (pickle.dumps({"w": [1.0]}), "no tensor|damaged|more than tensors"),
        "bomb.pth": (pickle.dumps({"w": Bomb()}), "class (posix|nt).mkdir|damaged|more than tensors"),
        "cut.safetensors": (content[:64], "no safetensors file"),
    }
    for name, (data, told) in wrong.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidData, match=told):
            import_here(read_network, tmp_path / name, tmp_path / f"{name}-bundle", recipe=NET_RECIPE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(made(Net)), tmp_path / "script.pt")
    with pytest.raises(InvalidData, match="TorchScript, which is code; save the weights alone"):
        import_here(read_network, tmp_path / "script.pt", tmp_path / "script", recipe=NET_RECIPE)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("", "weights alone do not say what their network is(.|\n)*layers:"),
        ("model: {architecture: mlp}", "with the layers of their network"),
        (NET_RECIPE.replace("shape: [10]", ""), "model.input.shape is missing"),
        (NET_RECIPE.replace("y_pred", "x"), "both called 'x'"),
        (NET_RECIPE.replace("units: 10", "unit: 10"), "unknown key 'unit'.*units"),
        (f"task: text-generation\n{NET_RECIPE}", "imported for: tensors"),
    ],
)
def test_a_recipe_that_says_too_little_is_refused_before_anything_is_read(tmp_path: Path, recipe: str, told: str) -> None:
    with pytest.raises(InvalidRecipe, match=told):
        import_state_dict(tmp_path / "absent.pth", tmp_path, ImportOptions(recipe=recipe))


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"modeltap\[train\]"):
        import_state_dict(tmp_path / "net.pth", tmp_path, ImportOptions(recipe=NET_RECIPE))


def test_a_folder_of_several_weights_is_refused(tmp_path: Path) -> None:
    assert find_state_dict(tmp_path) is None
    for name in ("a.pth", "b.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidData, match=r"a\.pth, b\.safetensors"):
        find_state_dict(tmp_path)
