"""What a file can say that no upload can carry, or that is found before a process is started for it: headers, links, files with
holes, configurations of Keras."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_graphs import dense
from onnx import TensorProto
from safetensors.torch import save_file

from modeltap.errors import InvalidData
from modeltap.importing.encoder_child import encoder_weights
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.keras_config import check_config, read_config
from modeltap.importing.kinds import import_any
from modeltap.importing.onnx import import_onnx
from modeltap.importing.onnx_file import read_graph
from modeltap.importing.pickles import is_pickle
from modeltap.importing.safetensors_header import count_parameters
from modeltap.importing.tokenizer_check import check_tokenizer, is_explosive
from modeltap.importing.torch_file import read_weights
from modeltap.importing.unpacking import is_inside, unpack_model
from modeltap.recipe.text_architectures import Shape

DEEP = 10_000


def header(said: Any, *, data: int = 0) -> bytes:
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    return struct.pack("<Q", len(content)) + content + bytes(data)


def tensor(begin: int, end: int, shape: list[Any]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


SAFETENSORS = {
    "2^60 bytes of header": struct.pack("<Q", 1 << 60) + b"{}",
    "a header of 100 MB": struct.pack("<Q", 100 << 20) + bytes(100),
    "10,000 lists within each other": header(b"[" * DEEP),
    "10,000 objects within each other": header(b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    "a name that stands twice": header(b'{"a":1,"a":2}'),
    "tensors that share bytes": header({"a": tensor(0, 8, [2]), "b": tensor(4, 12, [2])}, data=12),
    "a gap between tensors": header({"a": tensor(0, 8, [2]), "b": tensor(12, 20, [2])}, data=20),
    "bytes of nobody": header({"a": tensor(0, 8, [2])}, data=4000),
    "a place before the data": header({"a": tensor(-8, 0, [2])}, data=8),
    "extents of 4 billion": header({"a": tensor(0, 8, [2**32, 2**32])}, data=8),
    "a negative extent": header({"a": tensor(0, 8, [-1, -2])}, data=8),
    "an extent that is no number": header(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', data=8),
    "no UTF-8": header(b'{"\xff":1}'),
}


@pytest.mark.parametrize("what", SAFETENSORS)
def test_a_header_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(SAFETENSORS[what])
    with pytest.raises(InvalidData, match=r"is no safetensors file|is damaged"):
        count_parameters(path)


def outside(folder: Path, **facts: str) -> Path:
    """A graph whose weights lie in `w.bin`."""
    model = dense()
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", **facts}.items():
        weights.external_data.add(key=key, value=value)
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_weights_in_a_hard_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(2048))
    path = outside(tmp_path / "graph")
    os.link(tmp_path / "secret", path.parent / "w.bin")
    with pytest.raises(InvalidData, match="did not come with it"):
        read_graph(path)


def test_weights_in_a_file_of_a_terabyte_of_holes_end_in_their_own_process(tmp_path: Path) -> None:
    path = outside(tmp_path / "graph")
    with (path.parent / "w.bin").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData, match=r"memory|ended the process"):
        import_onnx(path, tmp_path / "bundle")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/..", "/a", "a//b", "a\\b", "C:a", "a\nb", "a\0b", "a\x7f", "a\u202eb", "ä" * 200, "\ud800"]
)
def test_a_name_that_leads_elsewhere_or_shows_as_another_is_none(name: str) -> None:
    assert not is_inside(name)
    assert is_inside("models/größe 1.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello.", b"\x08\x08\x12\x07modeltap", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"{}", b"L" + b"9" * 9000 + b"\n."],
)
def test_what_is_no_pickle_is_not_called_one(content: bytes) -> None:
    assert not is_pickle(content)


def keras_file(path: Path, config: bytes) -> Path:
    import h5py

    with h5py.File(path.with_suffix(".h5"), "w") as weights:
        weights["w"] = np.zeros(2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("metadata.json", "{}")
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
    return path


KERAS = {
    "a lambda": {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "l", "function": "code"}},
    "a lambda in a setting": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
    "a class of the system": {"class_name": "system", "module": "os", "config": {"command": "id"}},
    "a function of the system": {"class_name": "function", "config": "os.system", "module": "os"},
    "a class of somebody": {"class_name": "Mine", "module": "my.code", "registered_name": "mine>Mine", "config": {}},
}  # fmt: skip


@pytest.mark.parametrize("what", KERAS)
def test_code_in_a_model_of_keras_is_refused(tmp_path: Path, what: str) -> None:
    layers = {"class_name": "Sequential", "module": "keras", "config": {"layers": [KERAS[what]]}}
    path = keras_file(tmp_path / "model.keras", json.dumps(layers).encode())
    with pytest.raises(InvalidData):
        check_config(read_config(path))


def test_a_model_of_keras_that_is_10000_deep_is_refused(tmp_path: Path) -> None:
    for number, config in enumerate((b'{"a":' * DEEP, b'{"config":' * 900 + b"1" + b"}" * 900)):
        with pytest.raises(InvalidData, match=r"no JSON|a class that was written"):
            check_config(read_config(keras_file(tmp_path / f"{number}.keras", config)))


def test_a_model_of_keras_of_more_layers_than_any_is_refused() -> None:
    layer = {"class_name": "Dropout", "module": "keras.layers", "config": {"name": "d", "rate": 0.1}}
    with pytest.raises(InvalidData, match=r"20,000 layers, and at most 4,000"):
        check_config({"class_name": "Sequential", "module": "keras", "config": {"layers": [layer] * 20_000}})


def test_links_of_hdf5_are_refused_also_those_that_lead_in_a_circle(tmp_path: Path) -> None:
    import h5py

    target = tmp_path / "other.h5"
    with h5py.File(target, "w") as other:
        other["secret"] = np.arange(4)

    def linked(name: str, link: Any) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["model_config"] = "{}"
            weights = file.create_group("model_weights")
            weights["w"] = link(file) if callable(link) else link
        return tmp_path / name

    shown = [
        linked("external.h5", h5py.ExternalLink(str(target), "/secret")),
        linked("above.h5", h5py.ExternalLink("../../other.h5", "/secret")),
        linked("soft.h5", h5py.SoftLink("/elsewhere")),
        linked("circle.h5", lambda file: file["/"]),
    ]
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_group("model_weights").create_dataset("w", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    for path in (*shown, tmp_path / "raw.h5"):
        with pytest.raises(InvalidData, match=r"link|lie in another file|circle"):
            read_config(path)


def test_a_type_or_a_number_where_keras_has_its_config_is_refused(tmp_path: Path) -> None:
    import h5py

    for name, config in (("type.h5", "{}"), ("number.h5", 7)):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["model_config"] = config
            file.create_group("model_weights")
            if name == "type.h5":
                file["model_weights/t"] = np.dtype("f4")
        with pytest.raises(InvalidData, match=r"is a type, and no numbers|no JSON"):
            read_config(tmp_path / name)


@pytest.mark.parametrize("shape", [(40_000, 40_000), (2**25, 2**25)])
def test_one_number_shown_many_times_is_not_written_out(tmp_path: Path, shape: tuple[int, int]) -> None:
    shown = {"fc1.weight": torch.zeros(1).as_strided(shape, (0, 0)), "fc1.bias": torch.zeros(10)}
    torch.save(shown, tmp_path / "net.pth")
    with pytest.raises(InvalidData, match=r"'fc1.weight' shows its numbers many times.*contiguous"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("device", ["cuda:3", "mps", "xpu:0", "hpu"])
def test_weights_of_any_device_come_to_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: device)
    for name, is_archive in (("new.pth", True), ("old.pth", False)):
        torch.save({"w": torch.arange(3.0)}, tmp_path / name, _use_new_zipfile_serialization=is_archive)
        assert device.encode() in (tmp_path / name).read_bytes()
        assert read_weights(tmp_path / name).arrays["w"].tolist() == [0, 1, 2]


def test_a_config_of_another_size_than_its_weights_builds_nothing(tmp_path: Path) -> None:
    save_file({"distilbert.embeddings.word_embeddings.weight": torch.zeros(400, 16)}, tmp_path / "model.safetensors")
    huge = Shape(vocabulary=2_000_000, positions=65_536, dim=8192, layers=128, heads=1, inner=65_536)
    with pytest.raises(InvalidData, match=r"another network.*\[400, 16\].*\[2000000, 8192\]"):
        encoder_weights(tmp_path, "distilbert", huge)


TOKENIZERS = {
    "a pattern that some texts keep busy": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"(\w+\s?)+!$"}}},
        "repetition of",
    ),
    "a choice that is repeated": ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(?:a|a)*b"}}}, "repetition of"),
    "a letter that becomes 10 billion": (
        {"normalizer": {"normalizers": [{"type": "Replace", "pattern": {"String": "o"}, "content": "o" * 100}] * 5}},
        "10,000,000,000 times as long",
    ),
    "lists within each other": ({"normalizer": json.loads("[" * 500 + "]" * 500)}, "nested more than 100"),
}


@pytest.mark.parametrize("what", TOKENIZERS)
def test_a_tokenizer_that_would_stop_a_server_is_refused(tmp_path: Path, what: str) -> None:
    said, told = TOKENIZERS[what]
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(InvalidData, match=told):
        check_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"[!\"#$%()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    ],
)
def test_patterns_in_use_are_taken(pattern: str) -> None:
    assert not is_explosive(pattern)


MLFLOW = {
    "a file where a folder should be": ({"MLmodel": "flavors: {transformers: {model_binary: MLmodel}}"}, "is a folder"),
    "itself within itself": (
        {name + "MLmodel": "flavors: {onnx: {data: a}}" for name in ("", "a/", "a/a/")},
        "holds another one",
    ),
    "a place of 20,000 letters": (
        {"MLmodel": f"flavors: {{onnx: {{data: {'/'.join(['a' * 200] * 100)}}}}}"},
        "not in the directory",
    ),
}


@pytest.mark.parametrize("what", MLFLOW)
def test_directories_of_mlflow_that_lead_nowhere_are_refused(tmp_path: Path, what: str) -> None:
    files, told = MLFLOW[what]
    for name, content in files.items():
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData, match=told):
        import_any(tmp_path / "files", tmp_path / "bundle", ImportOptions())


@pytest.mark.parametrize("name", ["/".join(["a" * 200] * 6), "a/" * 70 + "m.onnx"])
def test_names_that_no_disk_takes_are_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "upload", "w") as archive:
        archive.writestr(name, b"x")
    (tmp_path / "files").mkdir()
    with pytest.raises(InvalidData, match="plain relative names"):
        unpack_model(tmp_path / "upload", tmp_path / "files", limit_bytes=1 << 20)


def test_a_file_of_another_engine_says_what_to_import_instead(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))
    (tmp_path / "files").mkdir()
    with pytest.raises(InvalidData, match=r"GGUF.*Hugging Face directory"):
        unpack_model(tmp_path / "upload", tmp_path / "files", limit_bytes=1 << 20)
