"""A language model that is trained on: loaded from its Hugging Face files, whole or with LoRA's small matrices beside it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modeltap.bundle.files import lay_out
from modeltap.data.tokenizer import CHAT_TEMPLATE, CONFIG, GENERATION_CONFIG, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG
from modeltap.errors import InvalidData, InvalidRecipe, MissingExtra
from modeltap.recipe.language_architectures import FullOptions, LoraOptions

KEPT = (CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS, CHAT_TEMPLATE)
WEIGHTS = "model.safetensors"
LARGEST_CONTEXT = 2048


def build(options: FullOptions, files: Mapping[str, Path], folder: Path) -> nn.Module:
    """The model with its weights, float32. `folder` is filled with links to its files. Raises InvalidRecipe for a version
    that has no weights to train, such as a compressed one; InvalidData for one that cannot be loaded; MissingExtra."""
    if not any(name.endswith(".safetensors") for name in files):
        raise InvalidRecipe(f"model.base is {options.base}, which has no weights to train; name the version it was made from")
    model: nn.Module = load(lay_out_model(files, folder))
    settings: Any = model.config
    settings.use_cache = False
    if not isinstance(options, LoraOptions):
        return model
    try:
        from peft import LoraConfig, get_peft_model
    except ModuleNotFoundError as problem:
        raise MissingExtra(what=str(problem.name), extra="llm") from problem
    low_rank = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]
        lora_dropout=options.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says when it mends a setting, which is as it should be
        adapted: nn.Module = get_peft_model(model, low_rank)
    return adapted


def lay_out_model(files: Mapping[str, Path], folder: Path) -> Path:
    """The folder with those of a bundle's files that are of the Hugging Face directory."""
    return lay_out({name: path for name, path in files.items() if _is_theirs(name)}, folder)


def merged(network: nn.Module) -> nn.Module:
    """The model itself, with what LoRA learned added to its weights."""
    adapted: Any = network
    whole: nn.Module = adapted.merge_and_unload() if hasattr(network, "merge_and_unload") else network
    return whole


def load(folder: Path) -> Any:
    """The model in a Hugging Face directory, to train or to ask. Nothing is fetched and no code of the directory is run."""
    try:
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError as problem:
        raise MissingExtra(what=str(problem.name), extra="llm") from problem
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        return model.eval()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as problem:
        told = (str(problem).strip().splitlines() or [type(problem).__name__])[0][:300]
        raise InvalidData(f"the model cannot be loaded: {told}") from None


def write_model(folder: Path, weights: Mapping[str, torch.Tensor], configuration: Mapping[str, Any]) -> None:
    """config.json and model.safetensors, the same bytes for the same values."""
    from safetensors.torch import save_file

    plain = {name: weights[name].detach().cpu().contiguous().clone() for name in sorted(weights)}
    save_file(plain, folder / WEIGHTS, {"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(configuration, indent=1, sort_keys=True))


def own_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Without a second name for weights that are tied to others."""
    named = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return {name: tensor for name, tensor in model.state_dict().items() if name in named}


def _is_theirs(name: str) -> bool:
    return name in KEPT or name.endswith(".safetensors") or name == f"{WEIGHTS}.index.json"
