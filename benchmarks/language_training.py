"""Tiny Shakespeare by bytes: our training of a `gpt` recipe, with validation, progress and checkpoints on, against a plain
torch loop over a network of the same size as GPT-2 has it.

4 layers, width 128, 4 heads, blocks of 64 bytes, 12 a batch, 2,000 steps, AdamW 0.001 with a cosine and 100 steps of warm-up.
The plain loop computes in float32, as torch does unless it is told otherwise; ours once as it decides itself (`precision:
auto`) and once in float32. A process and a thread each. They take turns, a tenth of the steps each time, so that the machine's
moods meet all; what is counted is processor time, which other processes disturb less. Tokenizer and the validation after every
tenth are part of our time, imports and the validation at the end of nobody's. Budgets: a validation loss of 1.88 or less, in
no more time than the plain loop (ratio 1.00 or less).
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TEXT = Path(__file__).parents[2] / "shared" / "data" / "tinyshakespeare.txt"
LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 4, 128, 4, 64, 12
LR, FLOOR, WARMUP = 0.001, 0.1, 0.05
THREADS = 1
TURNS = 10
GPT = {"architecture": "gpt", "layers": LAYERS, "width": WIDTH, "heads": HEADS, "context": CONTEXT, "vocabulary": "bytes"}


def add_options(group: Any) -> None:
    group.add_argument("--language-steps", type=int, default=2000, help="of each loop; the budget is for 2,000")


def measure(arguments: argparse.Namespace) -> str:
    """A Markdown table with the loss, the time and the ratio of all."""
    steps = arguments.language_steps
    runs = {name: _Turns(work, steps) for name, work in LOOPS.items()}
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS):
        for name in runs if turn % 2 else reversed(runs):
            spent[name].append(runs[name].go())
    first = next(iter(runs))
    lines = ["| loop | parameters | validation loss, all of it | processor s | of the plain loop's, median of turns |"]
    lines.append("|---|---|---|---|---|")
    for name, run in runs.items():
        loss, parameters = run.finish()
        ratio = statistics.median(ours / theirs for ours, theirs in zip(spent[name], spent[first], strict=True))
        lines.append(f"| {name} | {parameters:,} | {loss:.3f} | {sum(spent[name]):.1f} | {ratio:.2f} |")
    return "\n".join([*lines, "", f"{steps:,} steps, {THREADS} thread, {TURNS} turns."])


class _Turns:
    """A loop in a process of its own, which takes a tenth of its steps when it is told to."""

    def __init__(self, work: Callable[[_Clock, int], tuple[float, int]], steps: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(work, theirs, steps), daemon=True)
        self._process.start()
        self._pipe.recv()

    def go(self) -> float:
        """Processor seconds of the next tenth."""
        self._pipe.send("go")
        spent_s: float = self._pipe.recv()
        return spent_s

    def finish(self) -> tuple[float, int]:
        """Validation loss and parameters."""
        self._pipe.send("end")
        ended: tuple[float, int] = self._pipe.recv()
        self._process.join()
        return ended


class _Clock:
    """In the loop's process: stands still from one turn to the next."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def begin(self) -> None:
        self._pipe.send("ready")
        self._wait()

    def end_turn(self) -> None:
        self._pipe.send(time.process_time() - self._began_s)
        self._wait()

    def _wait(self) -> None:
        self._pipe.recv()
        self._began_s = time.process_time()


def _work(work: Callable[[_Clock, int], tuple[float, int]], pipe: Connection, steps: int) -> None:
    import torch

    torch.set_num_threads(THREADS)
    pipe.send(work(_Clock(pipe), steps))


def _parts() -> tuple[str, str]:
    text = TEXT.read_text(encoding="utf-8")
    edge = len(text) * 9 // 10
    return text[:edge], text[edge:]


def _own(clock: _Clock, steps: int, precision: str = "auto") -> tuple[float, int]:
    """The training that jobs run; what follows the last step and its validation (saving, measuring, samples) is in no turn."""
    import transformers  # noqa: F401  both import what they need before they begin

    from modeltap.data.texts import Sample
    from modeltap.recipe.parse import parse_recipe
    from modeltap.training.language.fit import LanguageAssignment, fit_language
    from modeltap.training.language.loop import LanguageLoop  # noqa: F401

    recipe = parse_recipe(
        {
            "task": "text-generation",
            "model": GPT,
            "steps": steps,
            "batch_size": BATCH,
            "precision": precision,
            "optimizer": {"lr": LR},
            "schedule": {"floor": FLOOR, "warmup": WARMUP},
        }
    )
    train, val = _parts()
    asked = 0

    def stop_requested() -> bool:
        """Asked before every step: waits where a turn ends."""
        nonlocal asked
        if asked and asked % (steps // TURNS) == 0:
            clock.end_turn()
        asked += 1
        return False

    def report(progress: Any) -> None:
        """The last turn ends with the last validation."""
        nonlocal asked
        if progress.phase == "evaluate" and asked == steps:
            asked = -1
            clock.end_turn()

    clock.begin()
    with tempfile.TemporaryDirectory() as folder:
        trained = fit_language(
            LanguageAssignment(
                recipe=recipe,
                samples={"train": [Sample(text=train)], "val": [Sample(text=val)], "test": []},
                base={},
                base_digest="",
                threads=THREADS,
                workdir=Path(folder),
                report=report,
                stop_requested=stop_requested,
                checkpoint_every_s=10.0,
            )
        )
    return trained.surprises["val"].loss, trained.language.parameters


def _own_float32(clock: _Clock, steps: int) -> tuple[float, int]:
    return _own(clock, steps, "float32")


def _plain(clock: _Clock, steps: int) -> tuple[float, int]:
    """By hand."""
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

    train, val = _parts()
    clock.begin()
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
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % (steps // TURNS) == 0:
            clock.end_turn()
    with torch.no_grad():
        blocks = held_out[: (len(held_out) - 1) // CONTEXT * CONTEXT + 1]
        inputs, targets = blocks[:-1].view(-1, CONTEXT), blocks[1:].view(-1, CONTEXT)
        losses = [
            functional.cross_entropy(network(some).flatten(0, 1), truth.flatten(), reduction="sum")
            for some, truth in zip(torch.split(inputs, 128), torch.split(targets, 128), strict=True)
        ]
    return float(torch.stack(losses).sum() / targets.numel()), sum(parameter.numel() for parameter in network.parameters())


LOOPS = {"plain torch loop": _plain, "modeltap": _own, "modeltap, float32": _own_float32}
