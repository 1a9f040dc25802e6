"""config.json of an encoder of texts, as BERT and its kin have it → the shape of the network, and where its weights stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from modeltap.errors import InvalidData
from modeltap.importing.language_config import refuse_code
from modeltap.recipe.text_architectures import Shape

BOUNDS = {
    "vocab_size": (2, 2_000_000),
    "hidden_size": (1, 8192),
    "num_hidden_layers": (1, 128),
    "num_attention_heads": (1, 256),
    "intermediate_size": (1, 65_536),
    "max_position_embeddings": (8, 65_536),
    "type_vocab_size": (0, 64),
}
ACTIVATIONS = {"gelu": "gelu", "relu": "relu"}
"""The exact one; its approximations answer otherwise."""


class Family(NamedTuple):
    """What the config calls each number, and what the weights are called below their own prefix."""

    keys: Mapping[str, str]
    tokens_before: int
    """Positions that no text is at: RoBERTa counts from behind its padding."""
    names: tuple[tuple[str, str], ...]
    """Patterns of a weight's name there, and its name here."""


_BERT_KEYS = {name: name for name in BOUNDS}
_BERT_NAMES = (
    (r"embeddings\.word_embeddings\.weight", "tokens.weight"),
    (r"embeddings\.position_embeddings\.weight", "positions.weight"),
    (r"embeddings\.token_type_embeddings\.weight", "types.weight"),
    (r"embeddings\.LayerNorm\.(weight|bias)", r"norm.\1"),
    (r"encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.(weight|bias)", r"blocks.\1.attention.\2.\3"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias)", r"blocks.\1.attention.out.\2"),
    (r"encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(weight|bias)", r"blocks.\1.attention_norm.\2"),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias)", r"blocks.\1.inner.\2"),
    (r"encoder\.layer\.(\d+)\.output\.dense\.(weight|bias)", r"blocks.\1.outer.\2"),
    (r"encoder\.layer\.(\d+)\.output\.LayerNorm\.(weight|bias)", r"blocks.\1.norm.\2"),
)
_DISTILBERT_NAMES = (
    (r"embeddings\.word_embeddings\.weight", "tokens.weight"),
    (r"embeddings\.position_embeddings\.weight", "positions.weight"),
    (r"embeddings\.LayerNorm\.(weight|bias)", r"norm.\1"),
    (r"transformer\.layer\.(\d+)\.attention\.q_lin\.(weight|bias)", r"blocks.\1.attention.query.\2"),
    (r"transformer\.layer\.(\d+)\.attention\.k_lin\.(weight|bias)", r"blocks.\1.attention.key.\2"),
    (r"transformer\.layer\.(\d+)\.attention\.v_lin\.(weight|bias)", r"blocks.\1.attention.value.\2"),
    (r"transformer\.layer\.(\d+)\.attention\.out_lin\.(weight|bias)", r"blocks.\1.attention.out.\2"),
    (r"transformer\.layer\.(\d+)\.sa_layer_norm\.(weight|bias)", r"blocks.\1.attention_norm.\2"),
    (r"transformer\.layer\.(\d+)\.ffn\.lin1\.(weight|bias)", r"blocks.\1.inner.\2"),
    (r"transformer\.layer\.(\d+)\.ffn\.lin2\.(weight|bias)", r"blocks.\1.outer.\2"),
    (r"transformer\.layer\.(\d+)\.output_layer_norm\.(weight|bias)", r"blocks.\1.norm.\2"),
)
_DISTILBERT_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "max_position_embeddings": "max_position_embeddings",
}
FAMILIES: dict[str, Family] = {
    "bert": Family(_BERT_KEYS, 0, _BERT_NAMES),
    "roberta": Family(_BERT_KEYS, 1, _BERT_NAMES),
    "xlm-roberta": Family(_BERT_KEYS, 1, _BERT_NAMES),
    "camembert": Family(_BERT_KEYS, 1, _BERT_NAMES),
    "distilbert": Family(_DISTILBERT_KEYS, 0, _DISTILBERT_NAMES),
}
_PREFIX = re.compile(r"^(bert|roberta|distilbert|model|0\.auto_model)\.")


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether config.json is of a family that reads texts and writes none."""
    return config.get("model_type") in FAMILIES


def read_shape(config: Mapping[str, Any]) -> Shape:
    """Raises InvalidData, naming the key, for what is not served or cannot be true."""
    refuse_code(config, "config.json")
    family = FAMILIES[config["model_type"]]
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
        raise InvalidData("config.json: only encoders with absolute positions are imported")
    numbers = {own: _number(config, key, *BOUNDS[own]) for own, key in family.keys.items()}
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InvalidData(f"config.json: hidden_act is {str(activation)[:40]!r}; imported are {', '.join(ACTIVATIONS)}")
    if numbers["hidden_size"] % numbers["num_attention_heads"]:
        raise InvalidData("config.json: hidden_size cannot be divided among num_attention_heads")
    padding = config.get("pad_token_id")
    if type(padding) is not int or not 0 <= padding < numbers["vocab_size"]:
        padding = 0
    eps = config.get("layer_norm_eps", 1e-12)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise InvalidData(f"config.json: layer_norm_eps is {str(eps)[:40]!r}; it must be a small number above 0")
    return Shape(
        vocabulary=numbers["vocab_size"],
        positions=numbers["max_position_embeddings"],
        dim=numbers["hidden_size"],
        layers=numbers["num_hidden_layers"],
        heads=numbers["num_attention_heads"],
        inner=numbers["intermediate_size"],
        types=numbers.get("type_vocab_size", 0),
        first_position=padding + 1 if family.tokens_before else 0,
        padding=padding,
        eps=eps,
        activation="relu" if activation == "relu" else "gelu",
    )


def own_name(name: str, family: str) -> str | None:
    """What the weight is called here; None for one that is not needed, such as a pooler's."""
    plain = _PREFIX.sub("", name)
    for pattern, own in FAMILIES[family].names:
        match = re.fullmatch(pattern, plain)
        if match is not None:
            return "encoder." + match.expand(own)
    return None


def _number(config: Mapping[str, Any], key: str, low: int, high: int) -> int:
    given = config.get(key)
    if type(given) is not int or not low <= given <= high:
        raise InvalidData(f"config.json: {key} is {str(given)[:40]!r}; it must be a whole number from {low:,} to {high:,}")
    return given
