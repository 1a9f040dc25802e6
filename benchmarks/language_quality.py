"""Whether a served language model says what its float32 original says: tiny Shakespeare, asked through /v1/completions.

Teacher-forced on 50 texts of 64 tokens: at each of 3,200 prefixes the most likely token, one request each (`max_tokens: 1`),
against the reference (transformers, float32) for the version as it was trained, its int8 and its int4 child. Perplexity of the
same texts through `echo` and `logprobs` against the reference's. Budgets: int8 agrees at 98 % or more; perplexity is within
0.1 % for float32, within 1 % for int8; int4 is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.serving.process import told_by

TEXT = Path(__file__).parents[2] / "shared" / "data" / "tinyshakespeare.txt"
NUM_TEXTS, TOKENS, PROMPTS_AT_ONCE = 50, 64, 64
NAME = "quality"
RECIPE = {
    "model.architecture": "gpt",
    "model.layers": 4,
    "model.width": 128,
    "model.heads": 4,
    "model.context": 128,
    "model.vocabulary": 1024,
    "batch_size": 12,
}


def add_options(group: Any) -> None:
    group.add_argument("--quality-steps", type=int, default=1000, help="of the training that makes the model")


def measure(arguments: argparse.Namespace) -> str:
    """A Markdown table: of each version, where it agrees with the reference, and how its perplexity differs."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        try:
            return _measure(home, Path(folder), arguments.quality_steps)
        finally:
            record = home / "server.json"
            if record.exists():
                _stop(json.loads(record.read_text())["pid"])


def _measure(home: Path, folder: Path, steps: int) -> str:
    text = folder / "text.txt"
    text.write_text(TEXT.read_text(encoding="utf-8") if TEXT.exists() else _shipped(), encoding="utf-8")
    told_by(home, "data", "add", str(text), "--name", NAME)
    options = [f"--set={key}={value}" for key, value in {**RECIPE, "steps": steps}.items()]
    told_by(home, "train", NAME, "--task", "text-generation", "--name", NAME, *options)
    versions = {"float32": f"{NAME}@1"}
    for weights in ("int8", "int4"):
        done = told_by(home, "compress", f"{NAME}@1", f"--{weights}", "--max-drop", "10")
        versions[weights] = done["version"]
    for weights, version in versions.items():
        told_by(home, "deploy", version, "--name", weights)
    told_by(home, "models", "export", f"{NAME}@1", str(folder / "model.zip"))
    with zipfile.ZipFile(folder / "model.zip") as archive:
        archive.extractall(folder / "model")
    texts = _texts(text.read_text(encoding="utf-8"), folder / "model")
    wanted, loss = _reference(folder / "model", texts)
    url = json.loads((home / "server.json").read_text())["url"]
    headers = {"authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
    lines = ["| version | positions that agree | perplexity | difference from the reference |", "|---|---|---|---|"]
    lines.append(f"| transformers, float32 | | {math.exp(loss):.4f} | |")
    with httpx.Client(base_url=url, headers=headers, timeout=600) as client:
        for weights in versions:
            agreed = _agreed(client, weights, texts, wanted)
            own = _loss(client, weights, texts)
            difference = math.exp(own - loss) - 1
            share = agreed / (len(texts) * TOKENS)
            lines.append(
                f"| {weights} | {agreed:,} of {len(texts) * TOKENS:,} ({share:.2%}) | {math.exp(own):.4f} | {difference:+.3%} |"
            )
    return "\n".join([*lines, "", f"{steps:,} steps of training; {NUM_TEXTS} texts of {TOKENS} tokens."])


def _texts(text: str, model: Path) -> list[list[int]]:
    """From all over the last tenth, which was not trained on."""
    from modeltap.data.tokenizer import open_tokenizer

    tokenizer = open_tokenizer({path.name: path for path in _folder(model).iterdir()})
    ids = tokenizer.encode_bare(text[len(text) * 9 // 10 :])
    step = (len(ids) - TOKENS) // NUM_TEXTS
    return [ids[start : start + TOKENS] for start in range(0, step * NUM_TEXTS, step)]


def _reference(model: Path, texts: Sequence[Sequence[int]]) -> tuple[list[list[str]], float]:
    """The text of the most likely token after each prefix, and the mean loss of each token but the first."""
    import torch
    from transformers import AutoModelForCausalLM

    from modeltap.data.tokenizer import open_tokenizer

    folder = _folder(model)
    tokenizer = open_tokenizer({path.name: path for path in folder.iterdir()})
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = network(torch.tensor(texts)).logits.double()
    best = logits.argmax(-1).tolist()
    logprobs = logits[:, :-1].log_softmax(-1).gather(-1, torch.tensor(texts)[:, 1:, None])
    return [[tokenizer.token_text(id_) for id_ in row] for row in best], -float(logprobs.mean())


def _agreed(client: httpx.Client, model: str, texts: Sequence[Sequence[int]], wanted: Sequence[Sequence[str]]) -> int:
    prompts = [(text[: end + 1], best[end]) for text, best in zip(texts, wanted, strict=True) for end in range(TOKENS)]
    agreed = 0
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        some = prompts[start : start + PROMPTS_AT_ONCE]
        body = {"model": model, "prompt": [prompt for prompt, _ in some], "max_tokens": 1, "temperature": 0, "logprobs": 1}
        choices = _asked(client, body)["choices"]
        for choice, (_, best) in zip(sorted(choices, key=lambda one: one["index"]), some, strict=True):
            agreed += (choice["logprobs"]["tokens"] or [None])[0] == best
    return agreed


def _loss(client: httpx.Client, model: str, texts: Sequence[Sequence[int]]) -> float:
    found: list[float] = []
    for start in range(0, len(texts), PROMPTS_AT_ONCE):
        body = {"model": model, "prompt": texts[start : start + PROMPTS_AT_ONCE], "max_tokens": 0, "logprobs": 1, "echo": True}
        for choice in _asked(client, body)["choices"]:
            found += [logprob for logprob in choice["logprobs"]["token_logprobs"] if logprob is not None]
    return -sum(found) / len(found)


def _asked(client: httpx.Client, body: Mapping[str, Any]) -> Mapping[str, Any]:
    answer = client.post("/v1/completions", json=body)
    answer.raise_for_status()
    told: Mapping[str, Any] = answer.json()
    return told


def _folder(model: Path) -> Path:
    return next(model.rglob("config.json")).parent


def _shipped() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def _stop(pid: int) -> None:
    import psutil

    try:
        process = psutil.Process(pid)
        process.terminate()
        process.wait(30)
    except psutil.NoSuchProcess:
        pass
