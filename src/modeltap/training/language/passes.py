"""The parts of a block that have backward passes of their own: fewer walks through memory than torch's, and attention in
float32 whatever the products around it are computed in.

Letters: B texts, T tokens, N tokens of all texts, H heads, D numbers of a head, W width, I width within the gated layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Inside, a processor multiplies matrices of float32 in `bf16`, by its matrix units, or in `ieee`: as they are."""
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = precision
    try:
        yield
    finally:
        matmul.fp32_precision = before


def attend(x_BTW: Tensor, qkv: Tensor, turn_THD: Tensor, heads: int) -> Tensor:
    """(B, T, W): each token looks at those up to itself. The rows of `qkv` (3 W, W) make queries, keys and values. Neighbours
    in queries and keys are complex numbers, turned by `turn_THD`: (T, 2 H, D / 2), the same for every head."""
    if x_BTW.device.type == "cpu":
        attended: Tensor = Attention.apply(x_BTW, qkv, turn_THD, heads)  # type: ignore[no-untyped-call]
        return attended
    parts_BTHD = _by_heads(functional.linear(x_BTW, qkv), 3 * heads)
    turned = torch.view_as_real(_pairs(parts_BTHD[:, :, : 2 * heads].float()) * turn_THD).flatten(-2).type_as(parts_BTHD)
    q, k, v = (one.transpose(1, 2) for one in (*turned.chunk(2, 2), parts_BTHD[:, :, 2 * heads :]))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


class Attention(torch.autograd.Function):
    """`attend` on a processor: queries and keys, and the gradients of both, are turned where they lie. The small products of
    attention itself lose more by being rounded to bfloat16 than they gain."""

    @staticmethod
    def forward(ctx: Any, x_BTW: Tensor, qkv: Tensor, turn_THD: Tensor, heads: int) -> Tensor:
        parts_BTHD = _by_heads(x_BTW @ qkv.t(), 3 * heads)
        _pairs(parts_BTHD)[:, :, : 2 * heads].mul_(turn_THD)
        q, k, v = (one.transpose(1, 2) for one in parts_BTHD.chunk(3, 2))
        with products("ieee"):
            attended, sums = _flash(q, k, v, 0.0, True)
        ctx.save_for_backward(x_BTW, qkv, turn_THD, q, k, v, attended, sums)
        looked: Tensor = attended.transpose(1, 2).flatten(2)
        return looked

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x_BTW, qkv, turn_THD, q, k, v, attended, sums = ctx.saved_tensors
        width, heads = x_BTW.shape[-1], q.shape[1]
        with products("ieee"):
            parts = _flash_backward(_by_heads(gradients[0], heads).transpose(1, 2), q, k, v, attended, sums, 0.0, True)
        to_q, to_k, to_v = (one.transpose(1, 2).contiguous() for one in parts)
        back_THD = turn_THD[:, :heads].conj().resolve_conj()
        for turned in (to_q, to_k):
            _pairs(turned).mul_(back_THD)
        x_NW, to_x, to_qkv = x_BTW.flatten(0, 1), torch.zeros_like(x_BTW), torch.empty_like(qkv)
        for place, part in enumerate((to_q, to_k, to_v)):
            rows, to_part = slice(place * width, (place + 1) * width), part.view_as(x_NW)
            to_x.view_as(x_NW).addmm_(to_part, qkv[rows])
            torch.mm(to_part.t(), x_NW, out=to_qkv[rows])
        return to_x, to_qkv, None, None


def gated(x_BTW: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """(B, T, W): silu(gate) · up, through `down` (W, I). The rows of `gate_up` (2 I, W) are the gate's, then up's."""
    if x_BTW.device.type == "cpu":
        added: Tensor = GatedLayers.apply(x_BTW.flatten(0, 1), gate_up, down)  # type: ignore[no-untyped-call]
        return added.view_as(x_BTW)
    gate, up = functional.linear(x_BTW, gate_up).chunk(2, -1)
    return functional.linear(functional.silu(gate) * up, down)


class GatedLayers(torch.autograd.Function):
    """`gated` on a processor: both halves are one product, and what the gate opened is computed again rather than kept."""

    @staticmethod
    def forward(ctx: Any, x_NW: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        both = x_NW @ gate_up.t()
        gate, up = both.chunk(2, -1)
        ctx.save_for_backward(x_NW, both, gate_up, down)
        return functional.silu(gate).mul_(up) @ down.t()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x_NW, both, gate_up, down = ctx.saved_tensors
        gate, up = both.chunk(2, -1)
        to_inner = gradients[0] @ down
        to_both = torch.empty_like(both)
        to_gate, to_up = to_both.chunk(2, -1)
        opened = functional.silu(gate)
        torch.mul(to_inner, opened, out=to_up)
        torch.ops.aten.silu_backward.grad_input(to_inner.mul_(up), gate, grad_input=to_gate)
        return to_both @ gate_up, to_both.t() @ x_NW, gradients[0].t() @ opened.mul_(up)


def _by_heads(numbers_BTW: Tensor, heads: int) -> Tensor:
    return numbers_BTW.view(*numbers_BTW.shape[:-1], heads, -1)


def _pairs(numbers: Tensor) -> Tensor:
    """Neighbours as one complex number each, in the same memory."""
    return torch.view_as_complex(numbers.view(*numbers.shape[:-1], -1, 2))
