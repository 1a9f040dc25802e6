"""A Hugging Face directory of a language model → the OpenVINO files that the serving engine loads, float32, int8 or int4.

The same directory gives the same bytes: what converters write of versions, options and their own counting is taken out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from modeltap.errors import InvalidData, InvalidInput

Weights = Literal["float32", "int8", "int4"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)

MODEL = ("openvino_model.xml", "openvino_model.bin")
TOKENIZER = ("openvino_tokenizer.xml", "openvino_tokenizer.bin")
DETOKENIZER = ("openvino_detokenizer.xml", "openvino_detokenizer.bin")
OPENVINO_FILES = (*MODEL, *TOKENIZER, *DETOKENIZER)

INT4_GROUP = 64
"""Weights of one row that share a scale and a zero point; a row that is no multiple of it has smaller groups."""
TASK = "text-generation-with-past"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
NOISY = ("nncf", "openvino", "openvino_tokenizers", "optimum", "transformers")
_LAYER_NAME = re.compile(r'(<layer id="(\d+)" )name="[^"]*"( type="(\w+)")')
_NAMED = frozenset({"Parameter", "Result"})
"""Layers by whose names a graph is fed and read; those that have none of their own are named by a count of the process."""
_COUNTED = re.compile(r"\b(Parameter|Result)_\d+\b")
_NET_NAME = re.compile(r'(<net )name="[^"]*"')
_END_OF_GRAPH = "</edges>"

Report = Callable[[str], None]


def convert(folder: Path, out: Path, *, weights: Weights, report: Report | None = None) -> list[Path]:
    """The OpenVINO files of the model and its tokenizer, written into `out`, which is made. The decoder keeps its cache
    within, as OpenVINO GenAI wants it.

    folder: safetensors, config and tokenizer; nothing in it is run, nothing is loaded from elsewhere. Only the weights are
    made smaller, each tensor by itself, so that no data is needed. Not safe to run in two threads at a time.
    Raises InvalidData for a directory that cannot be converted.
    """
    if weights not in WEIGHTS:
        raise InvalidInput(f"weights are {', '.join(WEIGHTS)}, not '{weights}'")
    tell = report or (lambda message: None)
    out.mkdir(parents=True, exist_ok=True)
    with _quiet_and_alone():
        tell("reading the model")
        model, tokenizer = _load(folder)
        tell("converting")
        with tempfile.TemporaryDirectory(dir=out) as draft:
            graph = _graph(model, Path(draft))
            del model
            if weights != "float32":
                tell(f"compressing to {weights}")
                graph = _compressed(graph, weights)
            tell("writing")
            _write(graph, out / MODEL[0], keep_facts=False)
            del graph
        for part, path in zip(_tokenizer_graphs(tokenizer), (out / TOKENIZER[0], out / DETOKENIZER[0]), strict=True):
            _write(part, path, keep_facts=True)
    return [out / name for name in OPENVINO_FILES if (out / name).is_file()]


def _load(folder: Path) -> tuple[Any, Any]:
    import torch
    import transformers

    models: Any = transformers.AutoModelForCausalLM
    tokenizers: Any = transformers.AutoTokenizer
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, told = models.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
            **options,
        )
        if told["missing_keys"]:
            missing = sorted(told["missing_keys"])
            raise InvalidData(f"the weights lack {len(missing)} tensors that config.json asks for, such as {missing[0]}")
        return model.eval(), tokenizers.from_pretrained(folder, use_fast=True, **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as problem:
        raise InvalidData(f"the directory cannot be loaded as a language model: {_first_line(problem)}") from None


def _graph(model: Any, draft: Path) -> Any:
    from openvino import Core
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel.openvino.configuration import OVConfig

    try:
        export_from_model(model, draft, task=TASK, ov_config=OVConfig(dtype="fp32"), stateful=True, preprocessors=[])
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as problem:
        raise InvalidData(f"the model cannot be converted: {_first_line(problem)}") from None
    return Core().read_model(draft / MODEL[0])


def _compressed(graph: Any, weights: Weights) -> Any:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedCompressionParameters, GroupSizeFallbackMode

    if weights == "int8":
        return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
    fallback = AdvancedCompressionParameters(group_size_fallback_mode=GroupSizeFallbackMode.ADJUST)
    mode = nncf.CompressWeightsMode.INT4_ASYM
    return nncf.compress_weights(graph, mode=mode, ratio=1.0, group_size=INT4_GROUP, advanced_parameters=fallback)


def _tokenizer_graphs(tokenizer: Any) -> tuple[Any, Any]:
    from openvino_tokenizers import convert_tokenizer

    # Prompts of one batch end at the same place.
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    try:
        tokenizer_graph, detokenizer_graph = convert_tokenizer(tokenizer, with_detokenizer=True)
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, NotImplementedError) as problem:
        raise InvalidData(f"the tokenizer cannot be converted: {_first_line(problem)}") from None
    return tokenizer_graph, detokenizer_graph


def _write(graph: Any, path: Path, *, keep_facts: bool) -> None:
    from openvino import save_model

    save_model(graph, path, compress_to_fp16=False)
    path.write_text(_canonical(path.read_text(encoding="utf-8"), keep_facts=keep_facts), encoding="utf-8")


def _canonical(xml: str, *, keep_facts: bool) -> str:
    """The same graph, its layers numbered by where they stand rather than by how many this process made before; without
    what the converters say of themselves. Facts are a tokenizer's: ids and texts of its special tokens."""
    end = xml.rindex(_END_OF_GRAPH) + len(_END_OF_GRAPH)
    graph, facts = xml[:end], xml[end:] if keep_facts else "\n</net>\n"
    graph = _NET_NAME.sub(r'\1name="model"', graph, count=1)
    graph = _LAYER_NAME.sub(lambda m: m[0] if m[4] in _NAMED else f'{m[1]}name="{m[4]}_{m[2]}"{m[3]}', graph)
    numbers: dict[str, str] = {}
    graph = _COUNTED.sub(lambda m: numbers.setdefault(m[0], f"{m[1]}_{len(numbers)}"), graph)
    return graph + facts


@contextlib.contextmanager
def _quiet_and_alone() -> Iterator[None]:
    """Nothing is fetched, nothing told to anybody, nothing printed."""
    # With None in its place the package that tells its makers who converts what cannot be imported; all do without it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ.update(OFFLINE)
    levels = {name: logging.getLogger(name).level for name in NOISY}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for name in NOISY:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:300]
