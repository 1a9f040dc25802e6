"""Rows of ids → a network that has learned them, by this process alone or as one of several that train it together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor, nn

from modeltap.domain.dataset import Part
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.training.batches import WHOLE
from modeltap.training.checkpoint import CHECKPOINT
from modeltap.training.freed_memory import keep_freed_memory
from modeltap.training.language.batches import Learned, RoundBatches, Rounds, plan_rounds
from modeltap.training.language.judging import measure
from modeltap.training.language.loop import LanguageLoop, Trainee
from modeltap.training.loop import Validate
from modeltap.training.losses import class_loss
from modeltap.training.reporting import Reporter
from modeltap.training.standing import Standing

if TYPE_CHECKING:
    from modeltap.training.distributed.group import Ranks

VAL_SHARE = 0.05
"""Of the tokens that a round learns from, so many are looked at after it; the end looks at all."""
VAL_TOKENS = 8192


@dataclass(frozen=True)
class Lesson:
    """What is learned, and who hears of it. `run` names everything that decides it."""

    recipe: Recipe
    learned: Mapping[Part, Learned]
    token_bytes: Tensor
    """(V,): as `byte_lengths` tells them."""
    context: int
    run: str
    workdir: Path
    checkpoint_every_s: float
    report: Callable[[Progress], None]
    saved: Callable[[], None]
    stop_requested: Callable[[], bool]

    @property
    def rounds(self) -> Rounds:
        recipe = self.recipe
        rows = self.learned["train"].num_rows
        return plan_rounds(rows, batch_size=recipe.batch_size, epochs=recipe.epochs, steps=recipe.steps)


def learn(given: Lesson, trainee: Trainee, *, device: torch.device, ranks: Ranks | None = None) -> Standing:
    """The trainee holds the weights to keep. `ranks` are the processes that train it together, this one among them.

    Raises what `Loop.train` does, and InvalidRecipe where a validation part is wanted and there is none.
    """
    keep_freed_memory()
    recipe, rounds = given.recipe, given.rounds
    batches = RoundBatches(
        given.learned["train"],
        rounds,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        device=device,
        pieces=recipe.accumulate,
        share=ranks.share if ranks else WHOLE,
    )
    tokens = batches.size * given.context
    loop = _loop_of(ranks)(
        trainee,
        batches,
        msgspec.structs.replace(recipe, epochs=rounds.num_rounds),
        loss=class_loss(recipe.loss, None),
        validate=_validation(given, tokens=tokens, device=device, ranks=ranks),
        metric_name="perplexity",
        reporter=Reporter(
            given.report,
            epochs=rounds.num_rounds,
            steps=batches.num_steps,
            rows=tokens,
            metric_name="perplexity",
        ),
        stop_requested=given.stop_requested,
        checkpoint=given.workdir / CHECKPOINT,
        checkpoint_every_s=given.checkpoint_every_s,
        saved=given.saved,
        run=given.run,
        device=device,
    )
    with trainee.products(device):
        return loop.train()


def _loop_of(ranks: Ranks | None) -> Callable[..., LanguageLoop]:
    if ranks is None:
        return LanguageLoop
    from modeltap.training.language.shared_loop import SharedLanguageLoop

    return partial(SharedLanguageLoop, ranks=ranks)


def _validation(given: Lesson, *, tokens: int, device: torch.device, ranks: Ranks | None) -> Validate | None:
    """Loss and perplexity of some rows spread over the validation part; None without rows. tokens: of a round."""
    recipe, val = given.recipe, given.learned.get("val")
    if val is None:
        if recipe.early_stopping is not None or recipe.schedule.name == "plateau":
            raise InvalidRecipe("early_stopping and schedule plateau need a validation part; set data.split.val")
        return None
    rows = min(val.num_rows, max(1, int(max(VAL_TOKENS, VAL_SHARE * tokens)) // given.context))
    share = ranks.share if ranks else WHOLE

    def validate(module: nn.Module) -> tuple[float, float]:
        found = measure(module, val, bytes_V=given.token_bytes, device=device, rows=rows, share=share)
        sums = torch.tensor([found.nats.sum(), found.tokens.sum()], dtype=torch.float64)
        nats, count = (ranks.total(sums) if ranks else sums).tolist()
        loss = nats / count if count else math.nan
        return loss, math.exp(min(loss, 700.0))

    return validate
