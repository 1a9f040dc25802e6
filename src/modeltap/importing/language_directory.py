"""A Hugging Face directory that others made → which of its files are taken, and the facts of the model; nothing is run, and
nothing that is pickled is opened."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeltap.errors import InvalidData
from modeltap.importing.language_config import LanguageConfig, read_config, refuse_code
from modeltap.importing.safetensors_header import count_parameters

CONFIG, TOKENIZER_CONFIG, TOKENIZER, INDEX = (
    "config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
)
TOKENIZER_FILES = (TOKENIZER, TOKENIZER_CONFIG, "special_tokens_map.json", "vocab.json", "merges.txt", "chat_template.jinja")
SMALL_FILES = (CONFIG, "generation_config.json", *TOKENIZER_FILES)
WEIGHTS = "model.safetensors"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
MAX_JSON_BYTES = 64 << 20
MAX_CONFIG_BYTES = 4 << 20
SLACK = 4
"""So many times fewer weights than the config asks for are taken for its error, not for another model."""
CHUNK_BYTES = 1 << 20
EXPORT = 'model.save_pretrained("DIR", safe_serialization=True); tokenizer.save_pretrained("DIR")'


@dataclass(frozen=True)
class LanguageDirectory:
    """What is taken of it: small files, and weights in order, all by their own names."""

    folder: Path
    files: tuple[str, ...]
    weights: tuple[str, ...]
    config: LanguageConfig
    num_parameters: int
    notices: tuple[str, ...]

    def source_digest(self) -> str:
        """SHA-256 over the names and contents of what is taken."""
        total = hashlib.sha256()
        for name in sorted((*self.files, *self.weights)):
            one = hashlib.sha256()
            with (self.folder / name).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    one.update(chunk)
            total.update(f"{name} {one.hexdigest()}\n".encode())
        return total.hexdigest()


def find_directory(folder: Path) -> Path | None:
    """The folder with config.json: this one, or the only one within it, as archives have it; None where there is none."""
    if (folder / CONFIG).is_file():
        return folder
    inner = [path for path in folder.iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 and (inner[0] / CONFIG).is_file() else None


def read_directory(folder: Path) -> LanguageDirectory:
    """What the directory holds. Raises InvalidData for what is missing, pickled, not of a family that is served, or brings
    code."""
    present = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    _refuse_pickles(present)
    weights = _find_weights(folder, present)
    config = read_config(read_json(folder / CONFIG, MAX_CONFIG_BYTES))
    if TOKENIZER_CONFIG in present:
        refuse_code(read_json(folder / TOKENIZER_CONFIG, MAX_JSON_BYTES), TOKENIZER_CONFIG)
    if TOKENIZER not in present and not {"vocab.json", "merges.txt"} <= set(present):
        raise InvalidData(f"the directory has no {TOKENIZER}; write one with transformers: {EXPORT}")
    for name in present:
        if name.endswith(".json") and name in SMALL_FILES:
            read_json(folder / name, MAX_JSON_BYTES)
    num_parameters = sum(count_parameters(folder / name) for name in weights)
    if num_parameters * SLACK < config.least_parameters:
        raise InvalidData(
            f"config.json describes at least {config.least_parameters:,} weights, the files hold {num_parameters:,}: they are"
            " not of one model"
        )
    files = tuple(name for name in SMALL_FILES if name in present)
    left = [name for name in present if name not in (*files, *weights, INDEX) and not name.startswith(".")]
    notices = [f"not taken: {', '.join(left[:8])}{', …' if len(left) > 8 else ''}"] if left else []
    index = (INDEX,) if len(weights) > 1 else ()
    return LanguageDirectory(folder, (*files, *index), weights, config, num_parameters, tuple(notices))


def read_json(path: Path, limit_bytes: int) -> dict[str, Any]:
    """The object in the file. Raises InvalidData."""
    if path.stat().st_size > limit_bytes:
        raise InvalidData(f"{path.name} has more than {limit_bytes:,} bytes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidData(f"{path.name} is no JSON") from None
    if not isinstance(content, dict):
        raise InvalidData(f"{path.name} holds no object")
    return content


def _refuse_pickles(present: list[str]) -> None:
    pickled = [name for name in present if name.lower().endswith(PICKLED)]
    if pickled:
        has_safe = any(name.endswith(".safetensors") for name in present)
        way = "take it out of the directory" if has_safe else f"write the model again where you trust it: {EXPORT}"
        raise InvalidData(f"'{pickled[0][:80]}' is a pickled file: opening it can run any code, so it is refused; {way}")


def _find_weights(folder: Path, present: list[str]) -> tuple[str, ...]:
    if WEIGHTS in present:
        return (WEIGHTS,)
    if INDEX not in present:
        raise InvalidData(f"the directory has no {WEIGHTS}; write the weights in that form: {EXPORT}")
    shards = read_json(folder / INDEX, MAX_JSON_BYTES).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise InvalidData(f"{INDEX} names no files of weights")
    names = tuple(sorted(set(shards.values())))
    for name in names:
        if name not in present or not name.endswith(".safetensors"):
            raise InvalidData(f"{INDEX} names '{name[:80]}', which is no .safetensors file of the directory")
    return names
