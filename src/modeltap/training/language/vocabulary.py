"""A byte-level tokenizer learned from texts, as the files of a Hugging Face directory. No text is unknown to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from modeltap.data.tokenizer import CHAT_TEMPLATE, TOKENIZER, TOKENIZER_CONFIG, letters_of

END, SYSTEM, USER, ASSISTANT, TOOL = "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"
SPECIAL = (END, SYSTEM, USER, ASSISTANT, TOOL)
TEMPLATE = """\
{% if tools %}{{ '<|system|>\\nTools: ' + (tools | tojson) + '<|end|>\\n' }}{% endif %}
{% for message in messages %}
{% set role = 'system' if message['role'] == 'developer' else message['role'] %}
{% if role not in ('system', 'user', 'assistant', 'tool') %}{{ raise_exception('unknown role ' + role) }}{% endif %}
{{ '<|' + role + '|>\\n' }}
{%- if message['content'] %}{{ message['content'] }}{% endif %}
{%- if message.get('tool_calls') %}{{ message['tool_calls'] | tojson }}{% endif %}
{{- '<|end|>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}
"""
PIECE_CHARS = 1 << 16


def learn_tokenizer(
    texts: Iterable[str], vocabulary: int | Literal["bytes", "characters"], *, context: int, talks: bool
) -> dict[str, bytes]:
    """File name → content. `talks`: with a chat template. The same texts give the same bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if isinstance(vocabulary, int):
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
        )
        made.train_from_iterator(_pieces(texts), trainer)
    else:
        merges = _character_merges(texts) if vocabulary == "characters" else []
        pieces = [*SPECIAL, *alphabet, *(first + second for first, second in merges)]
        made = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.add_special_tokens(list(SPECIAL))
    made.decoder = decoders.ByteLevel()
    about: dict[str, Any] = {
        "additional_special_tokens": list(SPECIAL[1:]),
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": context,
        "pad_token": END,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    files = {TOKENIZER: made.to_str(pretty=True).encode(), TOKENIZER_CONFIG: json.dumps(about, indent=1).encode()}
    return {**files, CHAT_TEMPLATE: TEMPLATE.encode()} if talks else files


def _character_merges(texts: Iterable[str]) -> list[tuple[str, str]]:
    """What joins the bytes of every character that has several, step by step."""
    found: dict[tuple[str, str], None] = {}
    for character in sorted({letter for text in texts for letter in set(text) if not letter.isascii()}):
        letters = letters_of(character.encode())
        for end in range(1, len(letters)):
            found[letters[:end], letters[end]] = None
    return list(found)


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), PIECE_CHARS):
            yield text[start : start + PIECE_CHARS]
