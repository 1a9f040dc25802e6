"""The network that is trained answers, and learns, as the Llama that is loaded from its files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional

from modeltap.recipe.language_architectures import GptOptions
from modeltap.training.language.network import Gpt, rms_norm
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
    for mine, name in (
        (network.tokens.weight, "model.embed_tokens.weight"),
        (network.norm, "model.norm.weight"),
        (network.blocks[0].attention_norm, "model.layers.0.input_layernorm.weight"),
        (network.blocks[1].inner_norm, "model.layers.1.post_attention_layernorm.weight"),
        (network.blocks[0].down.weight, "model.layers.0.mlp.down_proj.weight"),
    ):
        torch.testing.assert_close(mine.grad, gradients[name], rtol=1e-3, atol=1e-5)


def test_the_norm_has_the_gradients_of_its_definition() -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rms_norm, (x, weight))
