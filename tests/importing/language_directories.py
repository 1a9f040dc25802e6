"""Directories as Hugging Face writes them, with small files that need no library, and one thing wrong with each."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
PARAMETERS = 100 * 16 + 2 * 16 * 16


def safetensors(shapes: Mapping[str, tuple[int, ...]], *, dtype: str = "F32", width: int = 4, cut: int = 0) -> bytes:
    """A file of zeros, without its last `cut` bytes."""
    header, start = {}, 0
    for name, shape in shapes.items():
        size = width
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(start)
    return content[: len(content) - cut]


def write_directory(folder: Path, *, config: Mapping[str, Any] | None = None, **files: bytes | None) -> Path:
    """The folder; `config` changes keys (None removes one), `files` add or replace files (`__` is a dot), None removes one."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = {key: value for key, value in {**CONFIG, **(config or {})}.items() if value is not None}
    whole: dict[str, bytes | None] = {
        "config__json": json.dumps(changed).encode(),
        "tokenizer__json": b"{}",
        "tokenizer_config__json": b"{}",
        "model__safetensors": safetensors({"weights": (PARAMETERS,)}),
        **files,
    }
    for name, content in whole.items():
        if content is not None:
            (folder / name.replace("__", ".")).write_bytes(content)
    return folder
