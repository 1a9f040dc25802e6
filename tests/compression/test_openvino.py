"""A directory becomes OpenVINO files: the same each time, smaller where that is asked, refused where weights are missing."""

from __future__ import annotations

import shutil

import pytest
from safetensors.numpy import load_file, save_file

from modeltap.compression.openvino import DETOKENIZER, MODEL, OPENVINO_FILES, TOKENIZER, convert
from modeltap.errors import InvalidData, InvalidInput


def test_the_same_directory_gives_the_same_bytes(directory, converted, tmp_path):
    told: list[str] = []
    made = convert(directory, tmp_path / "again", weights="float32", report=told.append)
    assert [path.name for path in made] == list(OPENVINO_FILES) == [*MODEL, *TOKENIZER, *DETOKENIZER]
    for name in OPENVINO_FILES:
        assert (tmp_path / "again" / name).read_bytes() == (converted / name).read_bytes(), name
    assert told == ["reading the model", "converting", "writing"]


def test_no_path_of_the_machine_is_in_the_files(directory, converted):
    for name in OPENVINO_FILES:
        content = (converted / name).read_bytes()
        assert str(directory.parent).encode() not in content and b"site-packages" not in content, name


def test_fewer_bits_are_fewer_bytes_and_nothing_is_printed(directory, converted, tmp_path, capfd):
    sizes = [(converted / MODEL[1]).stat().st_size]
    for weights in ("int8", "int4"):
        convert(directory, tmp_path / weights, weights=weights)
        sizes.append((tmp_path / weights / MODEL[1]).stat().st_size)
    float32, int8, int4 = sizes
    assert int8 < 0.3 * float32 and int4 < int8
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_missing_are_not_made_up(directory, tmp_path):
    broken = shutil.copytree(directory, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidData, match=r"lack 1 tensors .* model\.layers\.1\.mlp\.up_proj\.weight"):
        convert(broken, tmp_path / "out", weights="float32")


def test_other_widths_are_refused(directory, tmp_path):
    with pytest.raises(InvalidInput, match="float32, int8, int4"):
        convert(directory, tmp_path, weights="int2")  # type: ignore[arg-type]
