"""The network that is trained answers, and learns, as the Llama that is loaded from its files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional

from modeltap.recipe.language_architectures import GptOptions
from modeltap.training.language.network import Gpt, without_mean
from modeltap.training.language.passes import attend, gated
from modeltap.training.language.pretrained import load, write_model

OPTIONS = GptOptions(layers=2, width=48, heads=3, context=24, vocabulary="bytes")


def test_logits_and_gradients_are_those_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Gpt(OPTIONS, 261)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32"}
    write_model(tmp_path, network.hugging_face_weights(), {**llama, **network.configuration(end=0)})
    theirs = load(tmp_path)
    ids = torch.randint(0, 261, (3, 24))
    ours, expected = network(ids), theirs(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    truth = torch.randint(0, 261, (3, 24)).flatten()
    functional.cross_entropy(ours.flatten(0, 1), truth).backward()
    functional.cross_entropy(expected.flatten(0, 1), truth).backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    layer, block = "model.layers.0", network.blocks[0]
    for mine, found in (
        (network.tokens.weight, without_mean(gradients["model.embed_tokens.weight"], dim=1)),
        (network.norm, gradients["model.norm.weight"]),
        (block.attention_norm, gradients[f"{layer}.input_layernorm.weight"]),
        (network.blocks[1].inner_norm, gradients["model.layers.1.post_attention_layernorm.weight"]),
        (block.out.weight, without_mean(gradients[f"{layer}.self_attn.o_proj.weight"], dim=0)),
        (block.gate_up.weight, torch.cat([gradients[f"{layer}.mlp.{half}_proj.weight"] for half in ("gate", "up")])),
        (block.down.weight, without_mean(gradients[f"{layer}.mlp.down_proj.weight"], dim=0)),
    ):
        torch.testing.assert_close(mine.grad, found, rtol=1e-3, atol=1e-5)


def test_attention_has_the_gradients_of_its_definition() -> None:
    """Of queries and keys, too, which are turned."""
    torch.manual_seed(1)
    turn_THD = torch.polar(torch.ones(5, 2), torch.rand(5, 2))[:, None].repeat(1, 4, 1)
    given = [torch.randn(3, 5, 8), torch.randn(24, 8)]
    ours, plain = ([one.clone().requires_grad_() for one in given] for _ in range(2))
    parts = (plain[0] @ plain[1].t()).view(3, 5, 6, 4)
    turned = torch.view_as_real(torch.view_as_complex(parts[:, :, :4].unflatten(-1, (2, 2))) * turn_THD).flatten(-2)
    q, k, v = (one.transpose(1, 2) for one in (*turned.chunk(2, 2), parts[:, :, 4:]))
    score = (q @ k.transpose(2, 3) / 2).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    expected = (score.softmax(-1) @ v).transpose(1, 2).flatten(2)
    found = attend(*ours, turn_THD, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    back = torch.randn_like(found)
    found.backward(back)
    expected.backward(back)
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-4)


def test_gated_layers_have_the_gradients_of_their_definition() -> None:
    torch.manual_seed(1)
    x, gate_up, down = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4, 6), (8, 6), (6, 4)))
    assert torch.autograd.gradcheck(gated, (x, gate_up, down))
    gate, up = (x @ gate_up.t()).chunk(2, -1)
    torch.testing.assert_close(gated(x, gate_up, down), (functional.silu(gate) * up) @ down.t())
