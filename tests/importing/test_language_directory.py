"""What of a directory is taken, and everything that is refused, by name and before anything of it is opened by a library."""

from __future__ import annotations

import json
import pickle
import struct

import pytest
from language_directories import PARAMETERS, safetensors, write_directory

from modeltap.errors import InvalidData
from modeltap.importing.language_directory import find_directory, read_directory


def refusal(folder) -> str:
    with pytest.raises(InvalidData) as refused:
        read_directory(folder)
    return refused.value.message


def test_what_is_there_is_told(tmp_path):
    folder = write_directory(tmp_path, README__md=b"hello", generation_config__json=b"{}")
    found = read_directory(folder)
    assert found.files == ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    assert found.weights == ("model.safetensors",) and found.num_parameters == PARAMETERS
    assert (found.config.family, found.config.context_tokens, found.config.vocabulary) == ("llama", 128, 100)
    assert found.notices == ("not taken: README.md",)


def test_equal_directories_have_equal_digests_whatever_lies_beside(tmp_path):
    one = read_directory(write_directory(tmp_path / "a")).source_digest()
    assert one == read_directory(write_directory(tmp_path / "b", README__md=b"other")).source_digest()
    other = safetensors({"weights": (PARAMETERS,)})[:-1] + b"\x01"
    assert one != read_directory(write_directory(tmp_path / "c", model__safetensors=other)).source_digest()


def test_weights_in_several_files_are_one_model(tmp_path):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    folder = write_directory(tmp_path, model__safetensors=None)
    (folder / "model.safetensors.index.json").write_bytes(index)
    (folder / "model-1.safetensors").write_bytes(safetensors({"a": (PARAMETERS - 10,)}))
    assert "model-2.safetensors" in refusal(folder)
    (folder / "model-2.safetensors").write_bytes(safetensors({"b": (10,)}, dtype="BF16", width=2))
    found = read_directory(folder)
    assert found.weights == ("model-1.safetensors", "model-2.safetensors") and found.num_parameters == PARAMETERS
    assert "model.safetensors.index.json" in found.files


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "config.json"])
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, name):
    folder = write_directory(tmp_path, model__safetensors=None)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert "which is no .safetensors file of the directory" in refusal(folder)


class Trap:
    def __reduce__(self):
        return (print, ("opened",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "optimizer.PTH", "x.pkl", "a.ckpt"])
def test_pickled_files_are_refused_with_the_safe_way(tmp_path, name, capsys):
    folder = write_directory(tmp_path, model__safetensors=None)
    (folder / name).write_bytes(pickle.dumps(Trap()))
    told = refusal(folder)
    assert name in told and "safe_serialization=True" in told
    (folder / "model.safetensors").write_bytes(safetensors({"weights": (PARAMETERS,)}))
    assert "take it out of the directory" in refusal(folder)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("file", ["config", "tokenizer_config"])
def test_code_of_its_own_is_refused(tmp_path, file):
    said = {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}
    if file == "config":
        folder = write_directory(tmp_path, config=said, modeling_evil__py=b"raise SystemExit")
    else:
        folder = write_directory(tmp_path, tokenizer_config__json=json.dumps(said).encode())
    assert f"{file}.json asks for code of its own (auto_map)" in refusal(folder)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "mamba"}, "'mamba'; imported are gpt2, llama, mistral, qwen2, qwen3"),
        ({"model_type": None}, "'None'; imported are"),
        ({"model_type": ["llama"]}, "imported are"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": "LlamaForCausalLM"}, "architectures must be a list"),
        ({"vocab_size": 10**12}, "vocab_size is '1000000000000'"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is '-1'"),
        ({"hidden_size": 1.5}, "hidden_size is '1.5'"),
        ({"hidden_size": True}, "hidden_size is 'True'"),
        ({"max_position_embeddings": None}, "max_position_embeddings is 'None'"),
        ({"intermediate_size": 10**9}, "intermediate_size"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ({"rope_scaling": "yes"}, "rope_scaling"),
        ({"hidden_size": 1024, "num_hidden_layers": 100}, "they are not of one model"),
    ],
)
def test_a_config_that_cannot_be_served_is_refused_by_its_key(tmp_path, config, told):
    assert told in refusal(write_directory(tmp_path, config=config))


def test_a_window_bounds_the_context(tmp_path):
    mistral = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 64}
    assert read_directory(write_directory(tmp_path / "a", config=mistral)).config.context_tokens == 64
    unused = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "sliding_window": 64, "use_sliding_window": False}
    assert read_directory(write_directory(tmp_path / "b", config=unused)).config.context_tokens == 128


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "0 bytes"),
        (b"PK\x03\x04", "4 bytes"),
        (struct.pack("<Q", 1 << 62) + b"{}", "cut off"),
        (struct.pack("<Q", 2) + b"[]", "names no tensors"),
        (struct.pack("<Q", 4) + b"{{{{", "header cannot be read"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "does not say what 'a' is"),
        (safetensors({"a": (4, 4)}, cut=1), "not where it should be"),
        (safetensors({"a": (4, 4)}, dtype="I8", width=1), "before it was quantized"),
        (safetensors({"a": (4, 4)}, dtype="F16", width=4), "not where it should be"),
    ],
)
def test_damaged_weights_are_refused(tmp_path, content, told):
    assert told in refusal(write_directory(tmp_path, model__safetensors=content))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"model__safetensors": None}, "no model.safetensors"),
        ({"tokenizer__json": None}, "no tokenizer.json"),
        ({"config__json": b"{"}, "config.json is no JSON"),
        ({"config__json": b"[" * 100_000}, "config.json is no JSON"),
        ({"config__json": b"[]"}, "config.json holds no object"),
        ({"tokenizer_config__json": b"\xff"}, "tokenizer_config.json is no JSON"),
        ({"generation_config__json": b"1"}, "generation_config.json holds no object"),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path, files, told):
    assert told in refusal(write_directory(tmp_path, **files))


def test_a_directory_is_found_within_one_folder(tmp_path):
    assert find_directory(tmp_path) is None
    inner = write_directory(tmp_path / "model")
    assert find_directory(tmp_path) == inner
    (tmp_path / "other").mkdir()
    assert find_directory(tmp_path) is None
    assert find_directory(inner) == inner
