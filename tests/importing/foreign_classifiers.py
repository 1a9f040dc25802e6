"""Classifiers of texts as transformers writes and reads them: small directories of random weights, one a family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from modeltap.data.subwords import train_subwords

TEXTS = ["the film is good", "a", "a bad day, and a long one " * 4, "今日は"]
LABELS = {0: "bad", 1: "so so", 2: "good"}
SMALL = {"vocab_size": 400, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
NAMED = {"id2label": LABELS, "label2id": {label: place for place, label in LABELS.items()}}
CONFIGS: dict[str, Any] = {
    "bert": transformers.BertConfig(**SMALL, **NAMED, max_position_embeddings=48),
    "roberta": transformers.RobertaConfig(**SMALL, **NAMED, max_position_embeddings=50, pad_token_id=0, type_vocab_size=1),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=400, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=48, **NAMED
    ),
}


def make_classifier(folder: Path, family: str) -> Any:
    """A directory of random weights, large enough to tell texts apart, with a tokenizer; the model."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(CONFIGS[family]).eval()
    for name, weight in model.named_parameters():
        if name.endswith("weight") and weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.4)
    model.save_pretrained(folder)
    tokenizer = train_subwords(["the film is good", "a bad day, and a long one"] * 3, vocabulary=300, lower=True)
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    return model


def asked_of_transformers(folder: Path, texts: list[str]) -> Any:
    """Probabilities, by its own reading of the directory, tokenizer and all."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), add_prefix_space=True)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=24)["input_ids"]
        with torch.no_grad():
            rows.append(torch.softmax(model(torch.tensor([ids])).logits[0], 0).numpy())
    return np.stack(rows)
