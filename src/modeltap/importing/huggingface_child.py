"""Reads and converts a Hugging Face directory in a process of its own: `python -P -m modeltap.importing.huggingface_child`,
started by `importing/huggingface.py`.

Weights, tokenizers and configurations are parsed by native code of many libraries: what crashes it, eats the memory or never
ends does so here. It writes files into a folder and one JSON object, its verdict, to standard output.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from modeltap import __version__
from modeltap.bundle.files import MANIFEST
from modeltap.compression.openvino import convert
from modeltap.data.tokenizer import Tokenizer, open_tokenizer
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.model import EngineChoice, Language, Lineage, Manifest
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.engines.confine import end_with_parent, leave_no_core, limit_memory, limit_processor_time
from modeltap.errors import InvalidData, ModeltapError
from modeltap.importing.language_directory import (
    CONFIG,
    MAX_CONFIG_BYTES,
    TOKENIZER,
    LanguageDirectory,
    find_directory,
    read_directory,
    read_json,
)
from modeltap.importing.tokenizer_check import check_tokenizer

GENERATION_CONFIG = "generation_config.json"
TASK = "text-generation"
TEXT = "text"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told."""

    source: str
    folder: str
    """Where new files go."""
    memory_bytes: int
    processor_s: int
    parent_pid: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What it found. `code` is that of an error, or empty; `inside` and `taken` name the files of the directory itself."""

    code: str = ""
    detail: str = ""
    inside: str = ""
    taken: list[str] = []
    notices: list[str] = []


def describe_directory(source: Path, folder: Path) -> Verdict:
    """Writes the OpenVINO files and the manifest of the directory into `folder`. Raises InvalidData, MissingExtra."""
    found = find_directory(source)
    if found is None:
        raise InvalidData(f"there is no {CONFIG}, neither in the directory nor in one folder within it")
    directory = read_directory(found)
    taken = [*directory.files, *directory.weights]
    if TOKENIZER not in directory.files:
        _write_tokenizer(found, folder)
        taken = [name for name in taken if name not in ("vocab.json", "merges.txt")]
    if GENERATION_CONFIG not in directory.files:
        _write_generation_config(found, folder)
    for place in (found / TOKENIZER, folder / TOKENIZER):
        if place.is_file():
            check_tokenizer(place)
    files = {name: found / name for name in taken} | {path.name: path for path in folder.iterdir()}
    tokenizer = open_tokenizer(files)
    _check_vocabulary(tokenizer, directory)
    convert(found, folder, weights="float32")
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(_manifest(directory, tokenizer)), indent=1))
    return Verdict(inside="" if found == source else found.name, taken=taken, notices=list(directory.notices))


def language_signature() -> tuple[Signature, Schema]:
    """A text in, a text out."""
    texts = (TensorSpec(TEXT, "BYTES", (-1,)),)
    return Signature(texts, texts), Schema(form="texts", columns=(Column(name=TEXT, kind="text"),), missing=())


def _manifest(directory: LanguageDirectory, tokenizer: Tokenizer) -> Manifest:
    signature, schema = language_signature()
    return Manifest(
        task=TASK,
        architecture=directory.config.family,
        signature=signature,
        engine=EngineChoice(name="openvino-genai"),
        schema=schema,
        output=TEXT,
        language=Language(
            cache="float32",  # as exact as its weights; a compressed child has the small one
            family=directory.config.family,
            context_tokens=directory.config.context_tokens,
            vocabulary=directory.config.vocabulary,
            parameters=directory.num_parameters,
            has_chat_template=tokenizer.has_chat_template,
        ),
        lineage=Lineage(code_version=__version__, source_digest=directory.source_digest()),
    )


def _write_tokenizer(source: Path, folder: Path) -> None:
    """tokenizer.json from the vocabulary and merges of older directories."""
    import transformers

    tokenizers: Any = transformers.AutoTokenizer
    try:
        tokenizer = tokenizers.from_pretrained(source, local_files_only=True, trust_remote_code=False, use_fast=True)
        tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InvalidData(f"{TOKENIZER} cannot be made of vocab.json and merges.txt: {str(problem)[:200]}") from None


def _write_generation_config(source: Path, folder: Path) -> None:
    config = read_json(source / CONFIG, MAX_CONFIG_BYTES)
    ends = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(name) is not None}
    (folder / GENERATION_CONFIG).write_text(json.dumps(ends, indent=1, sort_keys=True), encoding="utf-8")


def _check_vocabulary(tokenizer: Tokenizer, directory: LanguageDirectory) -> None:
    ids = {*tokenizer.end_ids, *tokenizer.encode("The quick brown fox, 123! Grüße 東京")}
    if max(ids, default=0) >= directory.config.vocabulary:
        raise InvalidData(
            f"the tokenizer gives the id {max(ids)}, the model knows {directory.config.vocabulary:,}: they are not of one model"
        )


def main() -> None:
    """The child: limits first, then the directory."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    end_with_parent(asked.parent_pid)
    leave_no_core()
    limit_processor_time(asked.processor_s)
    limit_memory(asked.memory_bytes)
    # Libraries print to standard output, which is for the verdict alone.
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        verdict = describe_directory(Path(asked.source), Path(asked.folder))
    except ModeltapError as problem:
        verdict = Verdict(code=problem.code, detail=problem.message)
    except (MemoryError, RecursionError):
        verdict = Verdict(code=InvalidData.code, detail="the model takes more memory than it may")
    with open(out, "wb") as answer:  # noqa: PTH123  a descriptor, not a path
        answer.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()
