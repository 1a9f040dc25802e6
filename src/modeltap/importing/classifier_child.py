"""Reads a Hugging Face directory of a classifier of texts and writes its bundle, in a confined process of its own, started by
`importing/classifier.py`.

The network is built anew from the config's numbers, the weights are read as arrays, and nothing of the directory is run. Where
transformers is installed, its own class of the family is asked the same texts.

Letters: N texts, T ids of a text, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from modeltap import __version__
from modeltap.bundle.files import bundle_files
from modeltap.bundle.golden import awkward_rows, record_golden
from modeltap.bundle.join import PREDICTION, join_graphs
from modeltap.data.graph import GraphWriter
from modeltap.data.rows import input_spec
from modeltap.data.subwords import Subwords
from modeltap.data.text_reading import FittedTexts, TextReader, padded
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.features import CODES, FeatureSpec
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import Array, Signature, TensorSpec
from modeltap.engines.new_engine import measured_engine
from modeltap.errors import InvalidData
from modeltap.importing.classifier_config import HEADS, read_labels
from modeltap.importing.encoder_child import digest_of_directory, encoder_weights, max_tokens_of
from modeltap.importing.encoder_config import read_shape
from modeltap.importing.import_card import write_import_card
from modeltap.importing.language_directory import CONFIG, MAX_CONFIG_BYTES, TOKENIZER, read_json
from modeltap.importing.network_asking import NetworkAsked, Written, answer_with
from modeltap.importing.network_bundle import compare_answers, told_of
from modeltap.importing.samples import read_sample
from modeltap.importing.tokenizer_check import check_tokenizer
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.text_architectures import PretrainedClassifierOptions
from modeltap.tasks.text_classification import TASK

ARCHITECTURE_NAME = "pretrained-encoder"
TEXT = Column(name="text", kind="text")
SCHEMA = Schema(form="texts", columns=(TEXT,), missing=())
GENERATED = (
    "The quick brown fox jumps over the lazy dog.",
    "I loved every minute of it.",
    "Terrible service, I will not come back.",
    "Prices rose by 3.5 % in March, the bank said on Tuesday.",
    "How do I reset my password?",
    "Ein Satz auf Deutsch, mit Umlauten: äöüß.",
    "今日は天気がいいです。",
    "word " * 60,
)
ALONE = "transformers is not installed here, so the answers were compared with those of the same network in torch"


def read_classifier(asked: NetworkAsked) -> Written:
    """Writes the bundle. Raises InvalidData for what cannot be read, built or served."""
    folder, target = Path(asked.source), Path(asked.folder)
    config = read_json(folder / CONFIG, MAX_CONFIG_BYTES)
    family, shape, labels = config["model_type"], read_shape(config), read_labels(config)
    head = HEADS[family]
    weights = encoder_weights(folder, family, shape, others=head.names)
    _check_last(weights, labels)
    if not (folder / TOKENIZER).is_file():
        raise InvalidData(f"the directory has no {TOKENIZER}; write one with transformers: tokenizer.save_pretrained(DIR)")
    check_tokenizer(folder / TOKENIZER)
    max_tokens = min(max_tokens_of(folder), shape.positions - shape.first_position)
    fitted = FittedTexts(Subwords(padding=shape.padding, max_ids=max_tokens), _text(folder / TOKENIZER))
    reader = fitted.open()
    if reader.size > shape.vocabulary:
        raise InvalidData(f"{TOKENIZER} has {reader.size:,} tokens, the model {shape.vocabulary:,}: they are not of one model")
    given = asked.options.sample
    texts = [str(text) for text in read_sample(Path(given), SCHEMA)[TEXT.name]] if given else list(GENERATED)
    options = PretrainedClassifierOptions(base=f"imported {family}", pool="first", shape=shape, head=head.function)
    lists = reader.read(texts)
    longest = max(map(len, lists))
    spec = FeatureSpec(cardinalities=(shape.vocabulary,) * longest, padding=shape.padding)
    module, graph, described = _graph(options, spec, weights, padded(lists, longest, padding=shape.padding), len(labels))
    front = GraphWriter("features")
    front.node("Identity", [TEXT.name], out=CODES)
    ids_spec = TensorSpec(TEXT.name, "INT64", (-1, -1))
    front_graph = front.model([ids_spec], [TensorSpec(CODES, "INT64", (-1, -1))])
    joined, inner = join_graphs(front_graph, graph, inputs=(ids_spec,), output=None, labels=labels)
    signature = Signature((input_spec(TEXT),), inner.outputs)
    content = joined.SerializeToString(deterministic=True)
    text_N = np.array(texts, dtype=object)
    engine, min_batch = measured_engine(content, signature, {TEXT.name: text_N}, fitted)
    source, logits = _source(folder, module)
    compared = compare_answers(
        engine.run,
        lambda batch: {PREDICTION: _shares(reader, batch[TEXT.name].tolist(), logits)},
        {TEXT.name: text_N},
        source=source,
        is_given=bool(given),
    )
    notices = [*([] if source.startswith("transformers") else [ALONE]), *told_of(compared)]
    manifest = Manifest(
        task=TASK.name,
        architecture=ARCHITECTURE_NAME,
        signature=signature,
        engine=EngineChoice(min_batch=min_batch),
        schema=SCHEMA,
        output=PREDICTION,
        labels=labels,
        lineage=Lineage(code_version=__version__, source_digest=digest_of_directory(folder)),
    )
    facts = {"family": family, "labels": ", ".join(labels[:40]), "a text has at most": f"{max_tokens} tokens"}
    rows = [{TEXT.name: text} for text in texts] + awkward_rows(SCHEMA)
    files = bundle_files(
        manifest=manifest,
        graph=content,
        golden=record_golden(SCHEMA, rows, engine.run),
        card=write_import_card(manifest, facts=facts, notices=notices, what="classifier of texts"),
        recipe_yaml="",
        weights=weights,
        architecture=described,
        texts=fitted.files(),
    )
    for name, data in files.items():
        (target / name).write_bytes(data)
    return Written(notices, compared)


def _graph(
    options: PretrainedClassifierOptions, spec: FeatureSpec, weights: Mapping[str, Any], ids_NT: Any, count: int
) -> tuple[Any, Any, dict[str, Any]]:
    import torch

    from modeltap.training.building import build_module, load_start
    from modeltap.training.export import export_network
    from modeltap.training.trained import describe

    architecture = find_architecture(ARCHITECTURE_NAME)
    module = build_module(architecture, options, spec, count)
    missing = sorted(set(module.state_dict()) - set(weights))
    if missing:
        raise InvalidData(f"the weights lack '{missing[0]}'{f' and {len(missing) - 1} more' if missing[1:] else ''}")
    load_start(module, weights)
    graph = export_network(module.eval(), spec, None, [torch.from_numpy(ids_NT)])
    return module, graph, describe(architecture, options, spec, count, target=None)


def _source(folder: Path, module: Any) -> tuple[str, Callable[[list[int]], Array]]:
    """What the answers are compared with, and how it gives the logits of one text: transformers where it is installed, else the
    network as it was built here."""
    import torch

    if find_spec("transformers") is None:

        def built(ids: list[int]) -> Array:
            with torch.no_grad():
                logit_C: Array = module(torch.tensor([ids])).numpy()[0]
            return logit_C

        return f"torch {torch.__version__.partition('+')[0]}", built
    import transformers

    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    ).eval()

    def asked(ids: list[int]) -> Array:
        ids_1T = torch.tensor([ids])
        with torch.no_grad():
            logit_C: Array = theirs(input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T)).logits.numpy()[0]
        return logit_C

    return f"transformers {transformers.__version__}", asked


def _shares(reader: TextReader, texts: Sequence[str], logits: Callable[[list[int]], Array]) -> Array:
    logit_NC = np.stack([logits(ids) for ids in reader.read(texts)]).astype(np.float64)
    power_NC = np.exp(logit_NC - logit_NC.max(axis=1, keepdims=True))
    shares_NC: Array = power_NC / power_NC.sum(axis=1, keepdims=True)
    return shares_NC


def _check_last(weights: Mapping[str, Any], labels: Sequence[str]) -> None:
    last = weights.get("last.weight")
    if last is not None and len(last) != len(labels):
        raise InvalidData(f"config.json has {len(labels)} labels, and the last layer gives {len(last)} numbers; set id2label")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidData(f"{path.name} is not UTF-8") from None


def main() -> None:
    answer_with(read_classifier)


if __name__ == "__main__":
    main()
