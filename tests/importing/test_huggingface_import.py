"""A Hugging Face directory becomes a bundle that is deployed like any other; what is wrong with one is told by the child."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from language_directories import write_directory

from modeltap.bundle.files import open_bundle
from modeltap.data.tokenizer import open_tokenizer
from modeltap.domain.model import Language
from modeltap.engines.probation import try_bundle
from modeltap.errors import GoldenMismatch, InvalidData
from modeltap.importing.huggingface import import_huggingface, is_language_directory
from modeltap.importing.onnx import Imported
from tiny_language import make_tiny_llama

HUGGING_FACE = ("chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Sent as an archive has it, in a folder of its own name, without what may be missing."""
    folder = tmp_path_factory.mktemp("import")
    source = make_tiny_llama(folder / "sent" / "tiny")
    (source / "generation_config.json").unlink()
    (source / "README.md").write_text("a model")
    (folder / "bundle").mkdir()
    return import_huggingface(folder / "sent", folder / "bundle")


def test_the_bundle_has_both_forms_and_says_what_the_model_is(imported):
    openvino = {f"openvino_{part}.{ending}" for part in ("model", "tokenizer", "detokenizer") for ending in ("xml", "bin")}
    described = {"manifest.json", "golden.json", "card.md"}
    assert set(imported.files) == {*HUGGING_FACE, "model.safetensors", *openvino, *described}
    manifest = open_bundle(imported.files).manifest
    assert manifest == imported.manifest
    assert (manifest.task, manifest.engine.name, manifest.architecture) == ("text-generation", "openvino-genai", "llama")
    assert manifest.language == Language(
        family="llama", context_tokens=256, vocabulary=427, parameters=101376, has_chat_template=True, cache="float32"
    )
    assert len(manifest.lineage.source_digest) == 64 and manifest.lineage.dataset == ""
    assert imported.notices == ["not taken: README.md"]


def test_what_a_missing_file_would_say_is_taken_from_the_config(imported):
    end = json.loads(imported.files["config.json"].read_text())["eos_token_id"]
    assert json.loads(imported.files["generation_config.json"].read_text())["eos_token_id"] == end
    assert end in open_tokenizer(imported.files).end_ids


def test_its_golden_prompts_are_repeated_when_it_is_deployed(imported, tmp_path):
    golden = open_bundle(imported.files).golden
    assert len(golden.prompts) == 6 and all(prompt.answer for prompt in golden.prompts)
    try_bundle(imported.files)
    written = json.loads(imported.files["golden.json"].read_text())
    written["prompts"][0]["answer"][0] ^= 1
    (tmp_path / "golden.json").write_text(json.dumps(written))
    with pytest.raises(GoldenMismatch):
        try_bundle({**imported.files, "golden.json": tmp_path / "golden.json"})


def test_the_child_tells_what_is_wrong(tmp_path):
    source = write_directory(tmp_path / "sent", pytorch_model__bin=b"\x80\x04.")
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData, match=r"pytorch_model\.bin.*is a pickled file"):
        import_huggingface(source, tmp_path / "bundle")
    assert list((tmp_path / "bundle").iterdir()) == []


def test_a_tokenizer_of_another_model_is_refused(tmp_path, imported):
    source = tmp_path / "sent"
    source.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(imported.files[name], source / name)
    write_directory(source, tokenizer__json=imported.files["tokenizer.json"].read_bytes())
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData, match="they are not of one model"):
        import_huggingface(source, tmp_path / "bundle")


def test_one_that_takes_too_long_is_ended(tmp_path):
    source = write_directory(tmp_path / "sent")
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidData, match=r"not read and converted within 0\.01 s"):
        import_huggingface(source, tmp_path / "bundle", timeout_s=0.01)


def test_a_graph_with_a_config_beside_it_is_a_graph(tmp_path: Path):
    assert is_language_directory(write_directory(tmp_path / "model"))
    (tmp_path / "model" / "model.onnx").write_bytes(b"graph")
    assert not is_language_directory(tmp_path / "model")
