"""The architectures that read texts, and their options."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from modeltap.domain.architecture import Architecture, Options

Vocabulary = Annotated[int, msgspec.Meta(ge=300, le=1_000_000)]
MaxIds = Annotated[int, msgspec.Meta(ge=8, le=4096)]
Few = Annotated[int, msgspec.Meta(ge=1, le=64)]
Width = Annotated[int, msgspec.Meta(ge=1, le=8192)]
Rate = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Temperature = Annotated[float, msgspec.Meta(gt=0, le=10)]
CLASSES = ("text-classification",)
VECTORS = ("text-embedding",)


class NGramOptions(Options, frozen=True):
    words: Annotated[int, msgspec.Meta(ge=0, le=5)] = 2
    """Up to so many words in a row; 0 is none."""
    characters: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=8)], ...], msgspec.Meta(max_length=8)] = (3, 4, 5)
    """How many characters of a word in a row; an empty list is none."""
    vocabulary: Annotated[int, msgspec.Meta(ge=1, le=5_000_000)] = 100_000
    min_count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 2
    """Texts that an n-gram must be in."""
    max_ngrams: Annotated[int, msgspec.Meta(ge=8, le=65_536)] = 2048
    """Of a text; the words' come first."""


class LstmOptions(Options, frozen=True):
    vocabulary: Vocabulary = 8000
    lower: bool = True
    max_tokens: MaxIds = 256
    """Longer texts are cut."""
    dim: Width = 128
    """Of a token's embedding."""
    units: Width = 128
    """In each of both directions."""
    dropout: Rate = 0.5


class EncoderOptions(Options, frozen=True):
    vocabulary: Vocabulary = 8000
    lower: bool = True
    max_tokens: MaxIds = 128
    dim: Width = 128
    layers: Few = 2
    heads: Few = 4
    inner: Width = 256
    """Width between the two layers of a block."""
    dropout: Rate = 0.3
    pool: Literal["mean", "first"] = "mean"


class SentenceOptions(EncoderOptions, frozen=True):
    dropout: Rate = 0.1
    temperature: Temperature = 0.05
    """What similarities are divided by; a small one looks at the nearest texts alone."""


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of an encoder that was made elsewhere."""

    vocabulary: int
    positions: int
    dim: int
    layers: int
    heads: int
    inner: int
    types: int = 0
    """Kinds of segments; a text has the first."""
    first_position: int = 0
    padding: int = 0
    eps: float = 1e-12
    activation: Literal["gelu", "relu"] = "gelu"


class PretrainedOptions(Options, frozen=True):
    base: str
    """A version of task text-embedding, `name@version`, whose encoder and tokenizer it begins with."""
    max_tokens: MaxIds | None = None
    """None is what the base takes."""
    dropout: Rate = 0.1
    pool: Literal["mean", "first"] = "mean"
    shape: Shape | None = None
    """Of the base; filled in when training begins."""


class PretrainedClassifierOptions(PretrainedOptions, frozen=True):
    head: Literal["linear", "tanh", "relu"] = "linear"
    """tanh, relu: one more layer of that function before the last, as imported classifiers have it."""


class PretrainedSentenceOptions(PretrainedOptions, frozen=True):
    temperature: Temperature = 0.05


def own_shape(options: EncoderOptions, *, vocabulary: int, padding: int) -> Shape:
    """Of an encoder that is trained from nothing."""
    return Shape(
        vocabulary=vocabulary,
        positions=options.max_tokens,
        dim=options.dim,
        layers=options.layers,
        heads=options.heads,
        inner=options.inner,
        padding=padding,
        eps=1e-5,
    )


TEXT_ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        name="ngram-linear",
        summary="logistic regression on weighted n-grams of words and characters",
        options=NGramOptions,
        build="modeltap.training.architectures.text_ngrams:build",
        tasks=CLASSES,
        shares_batches=False,
        defaults={"epochs": 30, "batch_size": 64, "optimizer": {"lr": 0.02}, "early_stopping": {"patience": 3}},
    ),
    Architecture(
        name="lstm",
        summary="a bidirectional LSTM over subwords",
        options=LstmOptions,
        build="modeltap.training.architectures.text_lstm:build",
        tasks=CLASSES,
        defaults={"epochs": 12, "optimizer": {"lr": 0.002}, "gradient_clip": 1.0, "early_stopping": {"patience": 3}},
    ),
    Architecture(
        name="encoder",
        summary="a small transformer encoder over subwords",
        options=EncoderOptions,
        build="modeltap.training.architectures.text_encoder:build_classifier",
        tasks=CLASSES,
        defaults={
            "epochs": 12,
            "optimizer": {"name": "adamw", "lr": 0.0005, "weight_decay": 0.01},
            "schedule": {"name": "linear", "warmup": 0.1},
            "gradient_clip": 1.0,
            "early_stopping": {"patience": 3},
        },
    ),
    Architecture(
        name="pretrained-encoder",
        summary="an encoder that was imported, trained on",
        options=PretrainedClassifierOptions,
        build="modeltap.training.architectures.text_encoder:build_pretrained_classifier",
        tasks=CLASSES,
        defaults={
            "epochs": 3,
            "batch_size": 32,
            "optimizer": {"name": "adamw", "lr": 0.00005, "weight_decay": 0.01},
            "schedule": {"name": "linear", "warmup": 0.1},
            "gradient_clip": 1.0,
        },
    ),
    Architecture(
        name="sentence-encoder",
        summary="a small transformer encoder whose mean is a sentence's vector",
        options=SentenceOptions,
        build="modeltap.training.architectures.text_encoder:build_sentence",
        tasks=VECTORS,
        shares_batches=False,
        defaults={
            "epochs": 10,
            "optimizer": {"name": "adamw", "lr": 0.0005, "weight_decay": 0.01},
            "schedule": {"name": "linear", "warmup": 0.1},
            "gradient_clip": 1.0,
        },
    ),
    Architecture(
        name="pretrained-sentence-encoder",
        summary="a sentence encoder that was imported, trained on",
        options=PretrainedSentenceOptions,
        build="modeltap.training.architectures.text_encoder:build_pretrained_sentence",
        tasks=VECTORS,
        shares_batches=False,
        defaults={
            "epochs": 1,
            "optimizer": {"name": "adamw", "lr": 0.00003, "weight_decay": 0.01},
            "schedule": {"name": "linear", "warmup": 0.1},
            "gradient_clip": 1.0,
        },
    ),
)
