"""config.json of a language model: is it of a family that is served, does it name no code, can its numbers be true?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from modeltap.errors import InvalidData

ROPE_KINDS = frozenset({"default", "linear", "llama3", "yarn"})
"""Whose positions do not depend on how long the text has become, so that they can be part of a fixed graph."""
HEADS_OF = ("ForCausalLM", "LMHeadModel")


class Shape(NamedTuple):
    """What the family's config calls each of these."""

    vocabulary: str
    hidden: str
    layers: str
    heads: str
    context: str


_LLAMA_LIKE = Shape("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
FAMILIES: dict[str, Shape] = {
    "llama": _LLAMA_LIKE,
    "mistral": _LLAMA_LIKE,
    "qwen2": _LLAMA_LIKE,
    "qwen3": _LLAMA_LIKE,
    "gpt2": Shape("vocab_size", "n_embd", "n_layer", "n_head", "n_positions"),
}
BOUNDS = {
    "vocabulary": (2, 2_000_000),
    "hidden": (1, 65_536),
    "layers": (1, 512),
    "heads": (1, 1024),
    "context": (8, 4_194_304),
}
FURTHER = {
    "intermediate_size": (1, 1_048_576),
    "n_inner": (1, 1_048_576),
    "num_key_value_heads": (1, 1024),
    "head_dim": (1, 4096),
    "sliding_window": (1, 4_194_304),
}
"""Where they are given."""


class LanguageConfig(NamedTuple):
    """What the config says, within bounds."""

    family: str
    context_tokens: int
    vocabulary: int
    least_parameters: int
    """Of the embedding and the layers' squares: weights that hold fewer are of another model."""


def read_config(config: Mapping[str, Any]) -> LanguageConfig:
    """Raises InvalidData, naming the key, for what is not served or cannot be true."""
    refuse_code(config, "config.json")
    family = config.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise InvalidData(f"config.json has the model_type {str(family)[:60]!r}; imported are {', '.join(sorted(FAMILIES))}")
    _refuse_other_heads(config)
    if config.get("quantization_config") is not None:
        raise InvalidData(
            "the weights are quantized (quantization_config); import the model as it was before, and compress it here:"
            " modeltap compress NAME --int8"
        )
    shape = FAMILIES[family]
    numbers = {key: _number(config, name, *BOUNDS[key], is_needed=True) for key, name in shape._asdict().items()}
    for name, bounds in FURTHER.items():
        _number(config, name, *bounds, is_needed=False)
    _check_positions(config)
    hidden, context = numbers["hidden"], numbers["context"]
    window = config.get("sliding_window")
    if window is not None and config.get("use_sliding_window", family == "mistral"):
        # Within its window such a model reads as one that looks back all the way; beyond it, it is not served.
        context = min(context, window)
    least = numbers["vocabulary"] * hidden + numbers["layers"] * hidden * hidden
    return LanguageConfig(family, context, numbers["vocabulary"], least)


def refuse_code(config: Mapping[str, Any], name: str) -> None:
    """Raises InvalidData where the file names code to run."""
    if "auto_map" in config:
        raise InvalidData(
            f"{name} asks for code of its own (auto_map), which is never run here; export the model with the classes of"
            " transformers itself, without trust_remote_code"
        )


def _refuse_other_heads(config: Mapping[str, Any]) -> None:
    heads = config.get("architectures") or []
    if not isinstance(heads, list) or not all(isinstance(head, str) for head in heads):
        raise InvalidData("config.json: architectures must be a list of names")
    if heads and not any(head.endswith(HEADS_OF) for head in heads):
        raise InvalidData(f"config.json is of a {heads[0][:80]}; imported are models that go on with a text: …{HEADS_OF[0]}")


def _number(config: Mapping[str, Any], name: str, low: int, high: int, *, is_needed: bool) -> int:
    given = config.get(name)
    if given is None and not is_needed:
        return 0
    if type(given) is not int or not low <= given <= high:
        raise InvalidData(f"config.json: {name} is {str(given)[:40]!r}; it must be a whole number from {low:,} to {high:,}")
    return given


def _check_positions(config: Mapping[str, Any]) -> None:
    scaling = config.get("rope_scaling")
    if scaling is None:
        return
    kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, dict) else None
    if not isinstance(kind, str) or kind not in ROPE_KINDS:
        raise InvalidData(
            f"config.json: rope_scaling is of the type {str(kind)[:40]!r}; served are {', '.join(sorted(ROPE_KINDS))}"
        )
