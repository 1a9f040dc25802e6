"""The model, made at random: a Hugging Face directory with a tokenizer of 32,000 entries, and its int8 form for OpenVINO.

Made once and kept in the folder of the benchmarks; what is said does not matter, only how long it takes.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from benchmarks.language.shape import (
    CONTEXT,
    END,
    HEADS,
    INNER,
    LAYERS,
    NUM_PROMPTS,
    PROMPT_TOKENS,
    VOCABULARY,
    WIDTH,
    Made,
)
from benchmarks.serving.environments import bench_home

FORM = 1
"""Of what is kept; another one is made anew."""
TEXT_FILES = 400
LONGEST_FILE = 200_000


def find_model() -> Made:
    """The model, which is made where it is not there yet; that takes a minute."""
    root = bench_home() / "language" / f"llama-{LAYERS}x{WIDTH}-v{FORM}"
    made = Made(root / "hf", root / "openvino", root / "prompts.json")
    if not made.prompts.exists():
        print("making the model …", file=sys.stderr, flush=True)
        shutil.rmtree(root, ignore_errors=True)
        made.folder.mkdir(parents=True)
        _write_tokenizer(made.folder)
        _write_weights(made.folder)
        _convert(made)
        made.prompts.write_text(json.dumps(_prompts(made.folder)))
    return made


def _write_tokenizer(folder: Path) -> None:
    """Byte-level BPE, learned from Python's own library, which is the same everywhere."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def _texts() -> Iterator[str]:
    found = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")) + sorted(Path(sysconfig.get_path("stdlib")).glob("*/*.py"))
    for path in [one for one in found if "site-packages" not in one.parts][:TEXT_FILES]:
        yield path.read_text(encoding="utf-8", errors="replace")[:LONGEST_FILE]


def _write_weights(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[0] = 0.0  # the end is never the most likely token: every answer has its full length
    model.save_pretrained(folder)


def _convert(made: Made) -> None:
    from modeltap.compression.openvino import convert

    convert(made.folder, made.openvino, weights="int8")
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made.folder / name, made.openvino / name)


def _prompts(folder: Path) -> list[tuple[str, list[int]]]:
    """Texts that are read as exactly so many tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    draw = random.Random(0)
    words = [word for word, id_ in tokenizer.get_vocab().items() if id_ and word.startswith("Ġ") and word[1:].isalpha()]
    words = sorted(word[1:] for word in words if word.isascii() or word[0] == "Ġ")
    prompts: list[tuple[str, list[int]]] = []
    while len(prompts) < NUM_PROMPTS:
        text = " ".join(draw.choices(words, k=PROMPT_TOKENS))
        ids = tokenizer.encode(text).ids
        if len(ids) == PROMPT_TOKENS:
            prompts.append((text, ids))
    return prompts
