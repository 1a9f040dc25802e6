"""The architectures that write texts, and their options: one from the start, two that train a version further."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from modeltap.domain.architecture import Architecture, Options

Vocabulary = Annotated[int, msgspec.Meta(ge=300, le=1_000_000)]
Width = Annotated[int, msgspec.Meta(ge=8, le=65_536)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=512)]
Heads = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Context = Annotated[int, msgspec.Meta(ge=8, le=1_048_576)]
Rank = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Rate = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Scale = Annotated[float, msgspec.Meta(gt=0, le=10_000)]
LANGUAGE = ("text-generation",)


class GptOptions(Options, frozen=True):
    layers: Layers = 4
    width: Width = 256
    heads: Heads = 4
    """`width` is a multiple of twice their number."""
    inner: Width | None = None
    """Width between the two halves of a block; None is the multiple of 64 next to 8/3 of `width`."""
    context: Context = 256
    """Tokens that the model reads and writes together."""
    vocabulary: Vocabulary | Literal["bytes", "characters"] = 4096
    """Tokens, learned from the training part. bytes: one a byte. characters: one a character that is in the training part,
    several for one that is not."""
    rope_theta: Annotated[float, msgspec.Meta(ge=1, le=1e9)] = 10_000.0


class FullOptions(Options, frozen=True):
    base: str
    """The version of a language model to train on, `name@version`."""
    context: Context | None = None
    """Longer texts are cut; None is what the base takes, at most 2,048."""


class LoraOptions(FullOptions, frozen=True):
    rank: Rank = 8
    alpha: Scale = 16.0
    """What is learned counts `alpha / rank` times."""
    dropout: Rate = 0.0


LANGUAGE_ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        name="gpt",
        summary="a transformer as Llama has it, from the start",
        options=GptOptions,
        build="modeltap.training.language.network:build",
        tasks=LANGUAGE,
        family="language",
        defaults={"optimizer": {"lr": 0.001, "weight_decay": 0.1}},
    ),
    Architecture(
        name="full",
        summary="a language model trained on, all of its weights",
        options=FullOptions,
        build="modeltap.training.language.pretrained:build",
        tasks=LANGUAGE,
        family="language",
        defaults={"epochs": 3, "batch_size": 8, "optimizer": {"lr": 0.00002}},
    ),
    Architecture(
        name="lora",
        summary="a language model trained on by small matrices beside its own, which are added to them at the end",
        options=LoraOptions,
        build="modeltap.training.language.pretrained:build",
        tasks=LANGUAGE,
        family="language",
        defaults={"epochs": 3, "batch_size": 8, "optimizer": {"lr": 0.0002}},
    ),
)
