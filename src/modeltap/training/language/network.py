"""A transformer as Llama has it, written for training: products that are taken together are one matrix, nothing is cached.

Its weights and configuration are those of a Hugging Face directory, and it answers as the model does that is loaded from there.

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

EPS = 1e-5
START = 0.02
"""Standard deviation of the start weights; those that write into the stream have less, the deeper the network."""


class RmsNorm(torch.autograd.Function):
    """x / sqrt(mean(x²) + eps) · weight over the last axis, with a backward pass of its own: fewer walks through memory than
    torch's, which has none on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_W: Tensor) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(EPS).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, weight_W, scale)
        weighted: Tensor = normed * weight_W
        return weighted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        normed, weight_W, scale = ctx.saved_tensors
        both = gradient * normed
        along = torch.matmul(both, weight_W).unsqueeze_(-1).div_(normed.shape[-1])
        to_x = (gradient * weight_W).addcmul_(normed, along, value=-1.0).mul_(scale)
        return to_x, both.flatten(0, -2).sum(0)


def rms_norm(x: Tensor, weight_W: Tensor) -> Tensor:
    normed: Tensor = RmsNorm.apply(x, weight_W)  # type: ignore[no-untyped-call]
    return normed


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
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x_BTW: Tensor, turn_TD: Tensor) -> Tensor:
        num_texts, num_tokens, width = x_BTW.shape
        heads, size = self.heads, width // self.heads
        qkv = self.qkv(rms_norm(x_BTW, self.attention_norm))
        qk, v = torch.split(qkv, [2 * width, width], dim=-1)
        pairs = torch.view_as_complex(qk.float().view(num_texts, num_tokens, 2 * heads, size // 2, 2))
        turned = torch.view_as_real(pairs * turn_TD[:, None]).flatten(-2).type_as(v).transpose(1, 2)
        q, k = torch.split(turned, heads, dim=1)
        v = v.view(num_texts, num_tokens, heads, size).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTW = x_BTW + self.out(attended.transpose(1, 2).reshape(num_texts, num_tokens, width))
        normed = rms_norm(x_BTW, self.inner_norm)
        added: Tensor = x_BTW + self.down(functional.silu(self.gate(normed)) * self.up(normed))
        return added

    def hugging_face_weights(self) -> dict[str, Tensor]:
        q, k, v = self.qkv.weight.chunk(3)
        return {
            "input_layernorm.weight": self.attention_norm,
            "post_attention_layernorm.weight": self.inner_norm,
            "self_attn.q_proj.weight": self._halves(q),
            "self_attn.k_proj.weight": self._halves(k),
            "self_attn.v_proj.weight": v,
            "self_attn.o_proj.weight": self.out.weight,
            "mlp.gate_proj.weight": self.gate.weight,
            "mlp.up_proj.weight": self.up.weight,
            "mlp.down_proj.weight": self.down.weight,
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
        self.register_buffer("turn", torch.polar(torch.ones_like(angle_TD), angle_TD), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_stream = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=START / (2 * options.layers) ** 0.5 if into_stream else START)

    def forward(self, id_BT: Tensor) -> Tensor:
        x_BTW = self.tokens(id_BT)
        turn_TD = self.turn[: id_BT.shape[1]]  # type: ignore[index]
        for block in self.blocks:
            x_BTW = block(x_BTW, turn_TD)
        return functional.linear(rms_norm(x_BTW, self.norm), self.tokens.weight)

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
        named: dict[str, Tensor] = {"model.embed_tokens.weight": self.tokens.weight, "model.norm.weight": self.norm}
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            named |= {f"model.layers.{number}.{name}": weight for name, weight in block.hugging_face_weights().items()}
        return named


def build(options: GptOptions, vocabulary: int) -> Gpt:
    """The network with its start weights, drawn from torch's generator."""
    return Gpt(options, vocabulary)
