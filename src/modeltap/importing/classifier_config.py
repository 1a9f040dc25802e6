"""config.json of a classifier of texts, as BERT and its kin have it → its labels, and what stands behind the encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from modeltap.errors import InvalidData
from modeltap.importing.encoder_config import is_encoder

ENDING = "ForSequenceClassification"
MAX_LABELS = 10_000


class Head(NamedTuple):
    """One layer with its function, then the last one; both read the first token's state. `names`: theirs → ours."""

    function: Literal["tanh", "relu"]
    names: Mapping[str, str]


def _named(head: str, last: str) -> dict[str, str]:
    return {
        f"{theirs}.{part}": f"{own}.{part}" for theirs, own in ((head, "head"), (last, "last")) for part in ("weight", "bias")
    }


_ROBERTA = Head("tanh", _named("classifier.dense", "classifier.out_proj"))
HEADS: dict[str, Head] = {
    "bert": Head("tanh", _named("bert.pooler.dense", "classifier")),
    "distilbert": Head("relu", _named("pre_classifier", "classifier")),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
}


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether config.json is of an encoder that tells classes of texts apart."""
    said = config.get("architectures")
    return is_encoder(config) and isinstance(said, list) and any(str(name).endswith(ENDING) for name in said)


def read_labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels in the order of the last layer's outputs. Raises InvalidData for a head that gives no classes."""
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise InvalidData(
            f"config.json: problem_type is {str(problem)[:60]!r}; imported are classifiers with one label a text"
            " (single_label_classification)"
        )
    if config.get("quantization_config") is not None:
        raise InvalidData("config.json: the model was quantized; import it before that, and compress it here")
    given = config.get("id2label")
    if given is None:
        given = {str(place): f"LABEL_{place}" for place in range(2)}
    if not isinstance(given, Mapping) or not 2 <= len(given) <= MAX_LABELS:
        told = f"{len(given)} labels" if isinstance(given, Mapping) else "no mapping"
        raise InvalidData(f"config.json: id2label is {told}; a classifier has from 2 to {MAX_LABELS:,}")
    try:
        by_place = {int(place): str(label) for place, label in given.items()}
        labels = tuple(by_place[place] for place in range(len(given)))
    except (ValueError, KeyError):
        raise InvalidData("config.json: id2label must number its labels from 0 on") from None
    if len(set(labels)) != len(labels):
        raise InvalidData("config.json: id2label holds a label twice; name each class otherwise")
    return labels
