"""A language model of 100,000 weights as an ordinary Hugging Face directory, made in a second; its nonsense is always the same.

Its weights are large, so that the most likely token leads clearly and engines that round otherwise agree on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONTEXT = 256
END, USER, ASSISTANT, SYSTEM = "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
SPECIAL = (END, USER, ASSISTANT, SYSTEM)
TEMPLATE = (
    "{% if tools %}{{ '<|system|>\n' + (tools | tojson) + '<|end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] | trim + '<|end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
TEXT = (
    "The quick brown fox jumps over the lazy dog. Once upon a time there was a king who had three daughters.",
    "What is the answer? The answer is forty-two; nothing else will do. Grüße aus Köln, 你好, héllo wörld!",
    '{"name": "value", "list": [1, 2, 3], "true": false, "null": null}\n\tdef function(argument):\n\t\treturn 0',
)


def make_tiny_llama(
    folder: Path, *, seed: int = 0, template: str | None = TEMPLATE, vocabulary: int = 512, **config: Any
) -> Path:
    """The folder with config.json, generation_config.json, tokenizer.json, tokenizer_config.json and model.safetensors (and
    chat_template.jinja). `config`: of its Llama configuration, instead of what is set here."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = write_tokenizer(folder, template=template, vocabulary=vocabulary)
    settings = {
        "vocab_size": tokenizer["size"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer["end"],
        "pad_token_id": tokenizer["end"],
        "initializer_range": 0.3,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**{**settings, **config}))
    model.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path, *, template: str | None = TEMPLATE, vocabulary: int = 512) -> Mapping[str, int]:
    """A byte-level BPE tokenizer of about that size, learned from a few sentences; says its size and the id of its end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": list(SPECIAL[1:]),
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return {"size": tokenizer.get_vocab_size(), "end": tokenizer.token_to_id(END)}


def files_of(folder: Path) -> dict[str, Path]:
    """Name → path, as a bundle has its files."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
