"""A transformer encoder of BERT's shape: small ones are trained from nothing, imported ones go on from their weights.

Letters: N texts, T ids of a text, D numbers of a state, H heads, K numbers of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.text_architectures import EncoderOptions, PretrainedClassifierOptions, PretrainedOptions, Shape, own_shape
from modeltap.training.architectures.sequences import masked_mean, without_filling

UNSEEN = -1e9
"""Added to the score of what fills up, whose share is then exactly 0."""


class Attention(nn.Module):
    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.heads, self.width = shape.heads, shape.dim // shape.heads
        self.query, self.key, self.value = (nn.Linear(shape.dim, shape.dim) for _ in range(3))
        self.out = nn.Linear(shape.dim, shape.dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state_NTD: Tensor, bias_N11T: Tensor) -> Tensor:
        query, key, value = (self._split(layer(state_NTD)) for layer in (self.query, self.key, self.value))
        score_NHTT = query @ key.transpose(2, 3) / math.sqrt(self.width) + bias_N11T
        mixed_NHTK = self.dropout(score_NHTT.softmax(-1)) @ value
        mixed: Tensor = self.out(mixed_NHTK.transpose(1, 2).flatten(2))
        return mixed

    def _split(self, state_NTD: Tensor) -> Tensor:
        num_rows, num_steps = state_NTD.shape[:2]
        return state_NTD.view(num_rows, num_steps, self.heads, self.width).transpose(1, 2)


class Block(nn.Module):
    """Attention, then two layers; after each the sum with what came in is normalised."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(shape, dropout)
        self.attention_norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.inner = nn.Linear(shape.dim, shape.inner)
        self.outer = nn.Linear(shape.inner, shape.dim)
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.dropout = nn.Dropout(dropout)
        self.activation = functional.gelu if shape.activation == "gelu" else functional.relu

    def forward(self, state_NTD: Tensor, bias_N11T: Tensor) -> Tensor:
        state_NTD = self.attention_norm(state_NTD + self.dropout(self.attention(state_NTD, bias_N11T)))
        inner = self.outer(self.activation(self.inner(state_NTD)))
        normal: Tensor = self.norm(state_NTD + self.dropout(inner))
        return normal


class Encoder(nn.Module):
    """ids (N, T) → states (N, T, D), and which of them are no filling."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.padding, self.first_position = shape.padding, shape.first_position
        self.tokens = nn.Embedding(shape.vocabulary, shape.dim)
        self.positions = nn.Embedding(shape.positions, shape.dim)
        self.types = nn.Embedding(shape.types, shape.dim) if shape.types else None
        self.norm = nn.LayerNorm(shape.dim, eps=shape.eps)
        self.blocks = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))
        self.dropout = nn.Dropout(dropout)
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, std=0.02)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    def forward(self, ids_NT: Tensor) -> tuple[Tensor, Tensor]:
        ids_NT = without_filling(ids_NT, self.padding) if self.training else ids_NT
        there_NT = ids_NT != self.padding
        place_T = torch.arange(ids_NT.shape[1], device=ids_NT.device) + self.first_position
        state_NTD = self.tokens(ids_NT) + self.positions(place_T)
        if self.types is not None:
            state_NTD = state_NTD + self.types.weight[0]
        state_NTD = self.dropout(self.norm(state_NTD))
        bias_N11T = torch.where(there_NT, 0.0, UNSEEN)[:, None, None, :]
        for block in self.blocks:
            state_NTD = block(state_NTD, bias_N11T)
        return state_NTD, there_NT


class EncoderClassifier(nn.Module):
    """`head`: the function of one more layer before the last; `linear` is none."""

    def __init__(self, shape: Shape, num_outputs: int, *, pool: str, dropout: float, head: str = "linear") -> None:
        super().__init__()
        self.encoder = Encoder(shape, dropout)
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.head = None if head == "linear" else nn.Linear(shape.dim, shape.dim)
        self.function = torch.tanh if head == "tanh" else torch.relu
        self.last = nn.Linear(shape.dim, num_outputs)
        for layer in (self.head, self.last):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, ids_NT: Tensor) -> Tensor:
        pooled_ND = self.dropout(_pooled(self.encoder(ids_NT), self.pool))
        if self.head is not None:
            pooled_ND = self.dropout(self.function(self.head(pooled_ND)))
        logit_NC: Tensor = self.last(pooled_ND)
        return logit_NC


class SentenceEncoder(nn.Module):
    """ids (N, T) → vectors (N, D) of length 1."""

    def __init__(self, shape: Shape, *, pool: str, dropout: float) -> None:
        super().__init__()
        self.encoder = Encoder(shape, dropout)
        self.pool = pool

    def forward(self, ids_NT: Tensor) -> Tensor:
        vector_ND = _pooled(self.encoder(ids_NT), self.pool)
        return vector_ND / vector_ND.square().sum(1, keepdim=True).clamp_min(1e-24).sqrt()


def build_classifier(options: EncoderOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """Raises InvalidRecipe if the width cannot be divided among the heads."""
    return EncoderClassifier(_own_shape(options, spec), num_outputs, pool=options.pool, dropout=options.dropout)


def build_sentence(options: EncoderOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """As `build_classifier`, without the classes."""
    return SentenceEncoder(_own_shape(options, spec), pool=options.pool, dropout=options.dropout)


def build_pretrained_classifier(options: PretrainedClassifierOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    shape = _given_shape(options)
    return EncoderClassifier(shape, num_outputs, pool=options.pool, dropout=options.dropout, head=options.head)


def build_pretrained_sentence(options: PretrainedOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    return SentenceEncoder(_given_shape(options), pool=options.pool, dropout=options.dropout)


def _own_shape(options: EncoderOptions, spec: FeatureSpec) -> Shape:
    if options.dim % options.heads:
        raise InvalidRecipe(f"model.dim is {options.dim}, which {options.heads} heads cannot share; make it a multiple of them")
    return own_shape(options, vocabulary=max(spec.cardinalities), padding=spec.padding or 0)


def _given_shape(options: PretrainedOptions) -> Shape:
    assert options.shape is not None, "filled in when the base is opened"
    return options.shape


def _pooled(encoded: tuple[Tensor, Tensor], pool: str) -> Tensor:
    state_NTD, there_NT = encoded
    return masked_mean(state_NTD, there_NT) if pool == "mean" else state_NTD[:, 0]
