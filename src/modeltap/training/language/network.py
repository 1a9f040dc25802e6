"""A transformer as Llama has it, written for training: products that are taken together are one matrix, nothing is cached.

Its weights and configuration are those of a Hugging Face directory, and it answers as the model does that is loaded from there.
Llama divides what runs through by its root mean square, for which torch has no single kernel on a processor. Here it is a layer
norm, which takes the mean away first; that is the same where the mean is 0, and it is 0 in the files: the rows of the tokens'
table and the columns of what is added to the stream are written there without their means, which a layer norm never sees.

Letters: B texts, T tokens, H heads, D numbers of a head, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeltap.errors import InvalidRecipe
from modeltap.recipe.language_architectures import GptOptions
from modeltap.training.language.passes import attend, gated

EPS = 1e-5
START = 0.02
"""Standard deviation of the start weights; those that write into the stream have less, the deeper the network."""


class Block(nn.Module):
    """Attention, then two gated layers; each adds to what runs through. Queries and keys are pairs of neighbours, turned as
    complex numbers; Hugging Face has the first halves of all pairs before the second ones."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.attention_norm = nn.Parameter(torch.ones(width))
        self.inner_norm = nn.Parameter(torch.ones(width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x_BTW: Tensor, turn_THD: Tensor) -> Tensor:
        attended: Tensor = self.out(attend(norm(x_BTW, self.attention_norm), self.qkv.weight, turn_THD, self.heads))
        x_BTW = x_BTW + attended
        return x_BTW + gated(norm(x_BTW, self.inner_norm), self.gate_up.weight, self.down.weight)

    def hugging_face_weights(self) -> dict[str, Tensor]:
        q, k, v = self.qkv.weight.chunk(3)
        gate, up = self.gate_up.weight.chunk(2)
        return {
            "input_layernorm.weight": self.attention_norm,
            "post_attention_layernorm.weight": self.inner_norm,
            "self_attn.q_proj.weight": self._halves(q),
            "self_attn.k_proj.weight": self._halves(k),
            "self_attn.v_proj.weight": v,
            "self_attn.o_proj.weight": without_mean(self.out.weight, dim=0),
            "mlp.gate_proj.weight": gate,
            "mlp.up_proj.weight": up,
            "mlp.down_proj.weight": without_mean(self.down.weight, dim=0),
        }

    def _halves(self, weight: Tensor) -> Tensor:
        """Each head's rows: the first of every pair, then the second of every pair."""
        return weight.view(self.heads, -1, 2, self.width).transpose(1, 2).reshape(weight.shape)


class Gpt(nn.Module):
    """Ids (B, T) → logits (B, T, vocabulary). The table of tokens is also what the logits are made with."""

    def __init__(self, options: GptOptions, vocabulary: int) -> None:
        """Raises InvalidRecipe for a width that the heads do not divide."""
        super().__init__()
        if options.width % (2 * options.heads):
            raise InvalidRecipe(
                f"model.width is {options.width}, model.heads {options.heads}; the width must be a multiple of twice the heads"
            )
        self.options, self.vocabulary = options, vocabulary
        self.inner = options.inner or max(1, round(options.width / 24)) * 64
        self.tokens = nn.Embedding(vocabulary, options.width)
        self.blocks = nn.ModuleList(Block(options.width, options.heads, self.inner) for _ in range(options.layers))
        self.norm = nn.Parameter(torch.ones(options.width))
        size = options.width // options.heads
        angle_D = 1.0 / options.rope_theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
        angle_TD = torch.outer(torch.arange(options.context, dtype=torch.float32), angle_D)
        turn_TD = torch.polar(torch.ones_like(angle_TD), angle_TD)
        turn_THD = turn_TD[:, None].repeat(1, 2 * options.heads, 1)  # written out, a product goes through memory in one run
        self.register_buffer("turn", turn_THD, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_stream = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=START / (2 * options.layers) ** 0.5 if into_stream else START)

    def forward(self, id_BT: Tensor) -> Tensor:
        table = without_mean(self.tokens.weight, dim=1)
        x_BTW = functional.embedding(id_BT, table)
        turn_THD = self.turn[: id_BT.shape[1]]  # type: ignore[index]
        for block in self.blocks:
            x_BTW = block(x_BTW, turn_THD)
        return functional.linear(norm(x_BTW, self.norm), table)

    def configuration(self, *, end: int) -> dict[str, Any]:
        """Of transformers' LlamaConfig."""
        options = self.options
        return {
            "hidden_size": options.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": options.layers,
            "num_attention_heads": options.heads,
            "num_key_value_heads": options.heads,
            "max_position_embeddings": options.context,
            "rope_theta": options.rope_theta,
            "rms_norm_eps": EPS,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": end,
        }

    def hugging_face_weights(self) -> Mapping[str, Tensor]:
        """By the names that LlamaForCausalLM has for them."""
        named: dict[str, Tensor] = {
            "model.embed_tokens.weight": without_mean(self.tokens.weight, dim=1),
            "model.norm.weight": self.norm,
        }
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            named |= {f"model.layers.{number}.{name}": weight for name, weight in block.hugging_face_weights().items()}
        return named


def norm(x_BTW: Tensor, weight_W: Tensor) -> Tensor:
    return functional.layer_norm(x_BTW, weight_W.shape, weight_W, eps=EPS)


def without_mean(weight: Tensor, *, dim: int) -> Tensor:
    return weight - weight.mean(dim, keepdim=True)


def build(options: GptOptions, vocabulary: int) -> Gpt:
    """The network with its start weights, drawn from torch's generator."""
    return Gpt(options, vocabulary)
