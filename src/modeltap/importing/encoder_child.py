"""Reads a Hugging Face directory of an encoder of texts and writes its bundle, in a process of its own:
`python -P -m modeltap.importing.encoder_child`, started by `importing/encoder.py`.

The network is built anew from the config's numbers, the weights are read as arrays, and nothing of the directory is run.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from modeltap import __version__
from modeltap.bundle.files import bundle_files
from modeltap.bundle.golden import awkward_rows, record_golden
from modeltap.bundle.join import join_graphs
from modeltap.data.graph import GraphWriter
from modeltap.data.rows import input_spec
from modeltap.data.subwords import Subwords
from modeltap.data.text_reading import FittedTexts, padded
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.features import CODES, FeatureSpec
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.engines.confine import end_with_parent, leave_no_core, limit_memory, limit_processor_time
from modeltap.engines.new_engine import measured_engine
from modeltap.errors import InvalidData, ModeltapError
from modeltap.importing.encoder_config import own_name, read_shape
from modeltap.importing.import_card import write_import_card
from modeltap.importing.language_directory import (
    CONFIG,
    MAX_CONFIG_BYTES,
    TOKENIZER,
    WEIGHTS,
    read_json,
)
from modeltap.importing.onnx_child import Asked, Verdict
from modeltap.importing.tokenizer_check import check_tokenizer
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.text_architectures import PretrainedSentenceOptions, Shape
from modeltap.tasks.text_embedding import TASK

ARCHITECTURE_NAME = "pretrained-sentence-encoder"
TEXT = Column(name="text", kind="text")
SCHEMA = Schema(form="texts", columns=(TEXT,), missing=())
OUTPUT = "embedding"
POOLING = "1_Pooling/config.json"
LIMITS = "sentence_bert_config.json"
MAX_TOKENS = 512
MAX_WEIGHT_BYTES = 1_700_000_000
"""A graph has its weights within itself, and a graph has 2 GB at most."""
SAMPLES = (
    "The quick brown fox jumps over the lazy dog.",
    "A cat sat on the mat.",
    "Prices rose by 3.5 % in March, the bank said on Tuesday.",
    "How do I reset my password?",
    "I cannot log in any more",
    "Ein Satz auf Deutsch, mit Umlauten: äöüß.",
    "今日は天気がいいです。",
    "word " * 60,
)


def describe_encoder(folder: Path, target: Path) -> list[str]:
    """Writes the bundle of the directory into `target`; what is worth knowing of it. Raises InvalidData."""
    config = read_json(folder / CONFIG, MAX_CONFIG_BYTES)
    shape = read_shape(config)
    pool, notices = _pooling(folder)
    weights = encoder_weights(folder, config["model_type"], shape)
    if not (folder / TOKENIZER).is_file():
        raise InvalidData(f"the directory has no {TOKENIZER}; write one with transformers: tokenizer.save_pretrained(DIR)")
    check_tokenizer(folder / TOKENIZER)
    max_tokens = min(max_tokens_of(folder), shape.positions - shape.first_position)
    tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
    fitted = FittedTexts(Subwords(padding=shape.padding, max_ids=max_tokens), tokenizer)
    reader = fitted.open()
    if reader.size > shape.vocabulary:
        raise InvalidData(f"{TOKENIZER} has {reader.size:,} tokens, the model {shape.vocabulary:,}: they are not of one model")
    options = PretrainedSentenceOptions(base=f"imported {config['model_type']}", pool=pool, shape=shape)
    lists = reader.read(SAMPLES)
    longest = max(map(len, lists))
    spec = FeatureSpec(cardinalities=(shape.vocabulary,) * longest, padding=shape.padding)
    graph, described = _graph(options, spec, weights, padded(lists, longest, padding=shape.padding))
    front = GraphWriter("features")
    front.node("Identity", [TEXT.name], out=CODES)
    ids_spec = TensorSpec(TEXT.name, "INT64", (-1, -1))
    front_graph = front.model([ids_spec], [TensorSpec(CODES, "INT64", (-1, -1))])
    joined, inner = join_graphs(front_graph, graph, inputs=(ids_spec,), output=OUTPUT, labels=(), width=shape.dim)
    signature = Signature((input_spec(TEXT),), inner.outputs)
    content = joined.SerializeToString(deterministic=True)
    engine, min_batch = measured_engine(content, signature, {TEXT.name: np.array(SAMPLES, dtype=object)}, fitted)
    manifest = Manifest(
        task=TASK.name,
        architecture=ARCHITECTURE_NAME,
        signature=signature,
        engine=EngineChoice(min_batch=min_batch),
        schema=SCHEMA,
        output=OUTPUT,
        lineage=Lineage(code_version=__version__, source_digest=digest_of_directory(folder)),
    )
    facts = {"family": config["model_type"], "a text has at most": f"{max_tokens} tokens", "pooling": pool}
    rows = [{TEXT.name: text} for text in SAMPLES] + awkward_rows(SCHEMA)
    files = bundle_files(
        manifest=manifest,
        graph=content,
        golden=record_golden(SCHEMA, rows, engine.run),
        card=write_import_card(manifest, facts=facts, notices=notices),
        recipe_yaml="",
        weights=weights,
        architecture=described,
        texts=fitted.files(),
    )
    for name, data in files.items():
        (target / name).write_bytes(data)
    return notices


def _graph(options: PretrainedSentenceOptions, spec: FeatureSpec, weights: dict[str, Any], ids_NT: Any) -> tuple[Any, Any]:
    import torch

    from modeltap.training.building import build_module, load_start
    from modeltap.training.export import export_network
    from modeltap.training.trained import describe

    architecture = find_architecture(ARCHITECTURE_NAME)
    module = build_module(architecture, options, spec, 1)
    missing = sorted(set(module.state_dict()) - set(weights))
    if missing:
        raise InvalidData(f"the weights lack '{missing[0]}'{f' and {len(missing) - 1} more' if missing[1:] else ''}")
    load_start(module, weights)
    graph = export_network(module, spec, None, [torch.from_numpy(ids_NT)], gives_vectors=True)
    return graph, describe(architecture, options, spec, 1, target=None)


def encoder_weights(folder: Path, family: str, shape: Shape, *, others: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The encoder's, under their names here, and `others` by theirs. Raises InvalidData for a file that is damaged or too
    large."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise InvalidData(f"the directory has no {WEIGHTS}; write the weights in that form: model.save_pretrained(DIR)")
    if path.stat().st_size > MAX_WEIGHT_BYTES:
        raise InvalidData(f"{WEIGHTS} has more than {MAX_WEIGHT_BYTES:,} bytes, which no graph of one file holds")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError:
        raise InvalidData(f"{WEIGHTS} is no safetensors file, or is damaged") from None
    taken = {}
    for name, tensor in tensors.items():
        own = own_name(name, family) or (others or {}).get(name)
        if own is not None and not tensor.is_floating_point():
            raise InvalidData(f"'{name[:80]}' holds no floats; export the model before it was quantized")
        if own is not None:
            taken[own] = np.ascontiguousarray(tensor.float().numpy())
    if not shape.types:
        taken.pop("encoder.types.weight", None)
    _check_sizes(taken, shape)
    return taken


def _check_sizes(weights: Mapping[str, Any], shape: Shape) -> None:
    """Raises InvalidData where the config speaks of a network that the weights are not of: before one of that size is built."""
    block = f"encoder.blocks.{shape.layers - 1}.inner.weight"
    wanted = {
        "encoder.tokens.weight": (shape.vocabulary, shape.dim),
        "encoder.positions.weight": (shape.positions, shape.dim),
        block: (shape.inner, shape.dim),
    }
    for name, needed in wanted.items():
        if name not in weights:
            raise InvalidData(f"the weights lack '{name}', which is {list(needed)} by {CONFIG}; send both of one model")
        if weights[name].shape != needed:
            raise InvalidData(
                f"{CONFIG} speaks of another network than {WEIGHTS} holds: '{name}' is {list(weights[name].shape)}, and"
                f" {list(needed)} by the config: they are not of one model"
            )


def _pooling(folder: Path) -> tuple[Any, list[str]]:
    """How a sentence-transformers directory pools; the mean where it does not say."""
    path = folder / POOLING
    if not path.is_file():
        return "mean", ["the directory does not say how a text's vector is made of its tokens'; their mean was taken"]
    config = read_json(path, MAX_CONFIG_BYTES)
    said = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if said == ["pooling_mode_mean_tokens"]:
        return "mean", []
    if said == ["pooling_mode_cls_token"]:
        return "first", []
    raise InvalidData(f"{POOLING} asks for {', '.join(said)[:200] or 'nothing'}; imported are mean_tokens and cls_token")


def max_tokens_of(folder: Path) -> int:
    """How long a text may be by the directory; MAX_TOKENS where it does not say."""
    path = folder / LIMITS
    given = read_json(path, MAX_CONFIG_BYTES).get("max_seq_length") if path.is_file() else None
    return min(given, 4096) if type(given) is int and given >= 8 else MAX_TOKENS


def digest_of_directory(folder: Path) -> str:
    """SHA-256 over the names and contents of what is taken of it."""
    total = hashlib.sha256()
    for name in (CONFIG, TOKENIZER, WEIGHTS, POOLING, LIMITS):
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def main() -> None:
    """The child: limits first, then the directory."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    end_with_parent(asked.parent_pid)
    leave_no_core()
    limit_processor_time(asked.processor_s)
    limit_memory(asked.memory_bytes)
    try:
        verdict = Verdict(notices=describe_encoder(Path(asked.graph), Path(asked.folder)))
    except ModeltapError as problem:
        verdict = Verdict(code=problem.code, detail=problem.message)
    except UnicodeDecodeError:
        verdict = Verdict(code=InvalidData.code, detail=f"{TOKENIZER} is not UTF-8")
    except MemoryError:
        verdict = Verdict(code=InvalidData.code, detail="the model takes more memory than it may")
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()
