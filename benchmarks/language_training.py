"""Tiny Shakespeare by bytes: our training of a `gpt` recipe, with validation, progress and checkpoints on, against a plain
torch loop over a network of the same size as GPT-2 has it.

4 layers, width 128, 4 heads, blocks of 64 bytes, 12 a batch, 2,000 steps, AdamW 0.001 with a cosine and 100 steps of warm-up.
One thread each. The two take turns, a tenth of the steps each time, so that the machine's moods meet both; what is counted is
processor time, which other processes disturb less. Budgets: a validation loss of 1.88
or less, in no more time than the plain loop (ratio 1.00 or less).
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEXT = Path(__file__).parents[2] / "shared" / "data" / "tinyshakespeare.txt"
LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 4, 128, 4, 64, 12
LR, FLOOR, WARMUP = 0.001, 0.1, 0.05
THREADS = 1
TURNS = 10


def add_options(group: Any) -> None:
    group.add_argument("--language-steps", type=int, default=2000, help="of each loop; the budget is for 2,000")


def measure(arguments: argparse.Namespace) -> str:
    """A Markdown table with the loss, the time and the ratio of both."""
    import torch

    torch.set_num_threads(THREADS)
    steps = arguments.language_steps
    text = TEXT.read_text(encoding="utf-8")
    edge = len(text) * 9 // 10
    plain = _plain(text[:edge], text[edge:], steps)
    own = _Turns(text[:edge], text[edge:], steps)
    spent: dict[str, list[float]] = {"plain": [], "own": []}
    for turn in range(TURNS):
        for name in ("plain", "own") if turn % 2 else ("own", "plain"):
            started = time.process_time()
            next(plain) if name == "plain" else own.go(turn)
            spent[name].append(time.process_time() - started)
    plain_loss = next(plain)
    own_loss = own.finish()
    ratio = statistics.median(ours / theirs for ours, theirs in zip(spent["own"], spent["plain"], strict=True))
    rows = [
        ("plain torch loop", plain_loss, sum(spent["plain"]), 1.0),
        ("modeltap", own_loss, sum(spent["own"]), ratio),
    ]
    lines = [
        "| loop | validation loss, all of it | processor s for all steps | of the plain loop's time, median of turns |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {loss:.3f} | {total_s:.1f} | {of:.2f} |" for name, loss, total_s, of in rows]
    return "\n".join([*lines, "", f"{steps:,} steps, {THREADS} thread, {TURNS} turns."])


class _Turns:
    """The training that jobs run, in a thread that waits at the end of each turn; start and tokenizer are in the first one,
    what follows the last step (saving, measuring, samples) in none."""

    def __init__(self, train: str, val: str, steps: int) -> None:
        self._train, self._val, self._steps = train, val, steps
        self._asked = 0
        self._may_go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._limit = 0
        self._loss = math.nan
        self._thread = threading.Thread(target=self._run, daemon=True)

    def go(self, turn: int) -> None:
        self._limit = (turn + 1) * self._steps // TURNS
        if turn:
            self._may_go.release()
        else:
            self._thread.start()
        self._waits.acquire()

    def finish(self) -> float:
        self._may_go.release()
        self._thread.join()
        return self._loss

    def _stop_requested(self) -> bool:
        """Asked before every step: waits where a turn ends."""
        if self._asked == self._limit:
            self._waits.release()
            self._may_go.acquire()
        self._asked += 1
        return False

    def _run(self) -> None:
        import torch

        from modeltap.data.texts import Sample
        from modeltap.recipe.parse import parse_recipe
        from modeltap.training.language.fit import LanguageAssignment, fit_language

        torch.set_num_threads(THREADS)
        gpt = {
            "architecture": "gpt",
            "layers": LAYERS,
            "width": WIDTH,
            "heads": HEADS,
            "context": CONTEXT,
            "vocabulary": "bytes",
        }
        recipe = parse_recipe(
            {
                "task": "text-generation",
                "model": gpt,
                "steps": self._steps,
                "batch_size": BATCH,
                "optimizer": {"lr": LR},
                "schedule": {"floor": FLOOR, "warmup": WARMUP},
            }
        )

        def report(progress: Any) -> None:
            """The last turn ends with the last validation."""
            if progress.phase == "evaluate" and self._asked == self._steps and self._limit == self._steps:
                self._limit = -1
                self._waits.release()
                self._may_go.acquire()

        with tempfile.TemporaryDirectory() as folder:
            trained = fit_language(
                LanguageAssignment(
                    recipe=recipe,
                    samples={"train": [Sample(text=self._train)], "val": [Sample(text=self._val)], "test": []},
                    base={},
                    base_digest="",
                    threads=THREADS,
                    workdir=Path(folder),
                    report=report,
                    stop_requested=self._stop_requested,
                    checkpoint_every_s=10.0,
                )
            )
        self._loss = trained.surprises["val"].loss


def _plain(train: str, val: str, steps: int) -> Iterator[float]:
    """A turn each time, then the loss on all of the validation part."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

        def forward(self, x: Any) -> Any:
            batch, tokens, _ = x.shape
            q, k, v = self.qkv(self.norm_1(x)).view(batch, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, WIDTH))
            return x + self.down(functional.gelu(self.up(self.norm_2(x))))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
            self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(WIDTH, bias=False)
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    last = name.endswith(("out.weight", "down.weight"))
                    nn.init.normal_(parameter, std=0.02 / (2 * LAYERS) ** 0.5 if last else 0.02)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            return functional.linear(self.norm(x), self.tokens.weight)

    torch.manual_seed(0)
    data, held_out = (torch.frombuffer(bytearray(part.encode()), dtype=torch.uint8).long() for part in (train, val))
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), LR, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    span = torch.arange(CONTEXT + 1)
    warm = round(WARMUP * steps)
    for step in range(steps):
        done = (step - warm) / max(1, steps - warm - 1)
        cosine = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = LR * ((step + 1) / warm if step < warm else cosine)
        window = data[torch.randint(0, len(data) - CONTEXT, (BATCH, 1)) + span]
        loss = functional.cross_entropy(network(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % (steps // TURNS) == 0:
            yield float(loss.detach())
    with torch.no_grad():
        blocks = held_out[: (len(held_out) - 1) // CONTEXT * CONTEXT + 1]
        inputs, targets = blocks[:-1].view(-1, CONTEXT), blocks[1:].view(-1, CONTEXT)
        losses = [
            functional.cross_entropy(network(some).flatten(0, 1), truth.flatten(), reduction="sum")
            for some, truth in zip(inputs.split(128), targets.split(128), strict=True)
        ]
    yield float(torch.stack(losses).sum() / targets.numel())
