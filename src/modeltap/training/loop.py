"""The training loop: epochs of shuffled batches, a validation after each, and a checkpoint that any kill leaves usable.

It decides by counts alone, never by the clock: a run that was killed and went on gives the same weights, bit for bit, as one
that was not. Nothing is read back from the device but a few times a second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.training.checkpoint import read_checkpoint, write_checkpoint
from modeltap.training.losses import LossFunction
from modeltap.training.optimizers import add_penalties, make_optimizer, penalised
from modeltap.training.reporting import EVERY_S, Reporter
from modeltap.training.schedules import rate_fraction
from modeltap.training.standing import Standing, capture, restore
from modeltap.training.stopped import Stopped

Validate = Callable[[nn.Module], tuple[float, float]]
"""The loss and the metric on the validation part."""

SAVING_SHARE = 0.02
"""Of a run's time that writing checkpoints may take, where an interval alone would take more."""


class Rounds(Protocol):
    """What is learned, by epochs of equally many steps."""

    num_steps: int

    def sizes(self) -> Tensor:
        """Rows of each step, float64."""

    def order(self, epoch: int, *, seed: int) -> Any:
        """Which rows an epoch's steps take; a function of its arguments alone."""

    def gather(self, order: Any, step: int) -> Any:
        """What `_learn` takes of a step."""


class Loop:
    """One run of training over a module. `run` is the digest of everything that decides it."""

    def __init__(
        self,
        module: nn.Module,
        batches: Rounds,
        recipe: Recipe,
        *,
        loss: LossFunction,
        validate: Validate | None,
        metric_name: str,
        reporter: Reporter,
        stop_requested: Callable[[], bool],
        checkpoint: Path,
        checkpoint_every_s: float,
        saved: Callable[[], None],
        run: str,
        device: torch.device,
    ) -> None:
        self._module, self._batches, self._recipe = module, batches, recipe
        self._asked = module
        """What answers while it learns: the module, or what stands around it."""
        self._loss, self._validate, self._metric_name = loss, validate, metric_name
        self._reporter, self._stop_requested = reporter, stop_requested
        self._checkpoint, self._every_s, self._run = checkpoint, checkpoint_every_s, run
        self._saved, self._began_at = saved, 0
        self._device = device
        self._optimizer = make_optimizer(recipe.optimizer, module)
        self._weights = penalised(module)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._sizes = batches.sizes()
        self._num_steps = recipe.epochs * batches.num_steps
        self._standing = Standing(losses=torch.zeros(batches.num_steps, device=device))
        self._tick_s = min(EVERY_S, checkpoint_every_s)
        self._due_s = 0.0
        self._saved_at_s = time.monotonic()
        self._saving_s = 0.0

    def train(self) -> Standing:
        """Trains to the end, from the run's checkpoint if there is one; the module holds the weights to keep.

        Raises Stopped, with a checkpoint written, when asked to stop; InvalidRecipe when the loss is no longer a number;
        StorageFailed when a checkpoint cannot be written.
        """
        found = self._find()
        if found is not None:
            self._standing = self._restore(*found)
        standing = self._standing
        self._began_at = self._num_done()
        goes_on = found is not None and not self._is_complete()
        self._reporter.start(self._began_at, message=f"goes on in epoch {standing.epoch + 1}" if goes_on else "")
        while not self._is_complete():
            self._train_epoch()
            self._end_epoch()
        if standing.best_weights is not None:
            self._module.load_state_dict(standing.best_weights)
        return standing

    def _train_epoch(self) -> None:
        standing, module, optimizer, recipe = self._standing, self._module, self._optimizer, self._recipe
        order = self._batches.order(standing.epoch, seed=recipe.seed)
        penalties = (recipe.optimizer.l1, recipe.optimizer.l2)
        module.train()
        self._due_s = time.monotonic() + self._tick_s
        for step in range(standing.step, self._batches.num_steps):
            if self._must_stop():
                self._save()
                raise Stopped
            lr = self._rate(step)
            for group in optimizer.param_groups:
                group["lr"] = lr
            for parameter in self._parameters:
                parameter.grad = None
            loss = self._learn(order, step)
            if any(penalties):
                add_penalties(self._weights, l1=penalties[0], l2=penalties[1])
            if recipe.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(self._parameters, recipe.gradient_clip)
            optimizer.step()
            standing.losses[step] = loss
            standing.step = step + 1
            if self._must_tell():
                self._reporter.step(standing.epoch, standing.step, loss=self._mean_loss())
                self._save_if_due(self._every_s)
                self._due_s = time.monotonic() + self._tick_s

    def _must_stop(self) -> bool:
        """Before a step: whether this is the last moment of this run."""
        return self._stop_requested()

    def _must_tell(self) -> bool:
        """After a step: whether it is time to say how far the run is, and perhaps to save."""
        return time.monotonic() >= self._due_s

    def _learn(self, order: Any, step: int) -> Tensor:
        """The loss of a step's rows; their gradients are in the weights."""
        inputs, target, weight = self._batches.gather(order, step)
        loss = self._loss(self._asked(*inputs), target)
        loss.backward(weight)  # type: ignore[no-untyped-call]
        return loss.detach() if weight is None else loss.detach() * weight

    def _end_epoch(self) -> None:
        standing, recipe = self._standing, self._recipe
        entry = {"epoch": standing.epoch + 1, "train_loss": self._mean_loss()}
        if self._validate is not None:
            self._module.eval()
            val_loss, metric = self._validate(self._module)
            if not math.isfinite(val_loss):
                raise _not_finite(f"the validation loss became {val_loss} after epoch {entry['epoch']}")
            entry |= {"val_loss": val_loss, f"val_{self._metric_name}": metric}
        entry["lr"] = self._rate(self._batches.num_steps - 1)
        standing.history.append(entry)
        standing.epoch += 1
        standing.step = 0
        if self._validate is not None:
            standing.plateau.observe(val_loss, every=recipe.schedule.every)
            if recipe.early_stopping is not None:
                stopping = recipe.early_stopping
                standing.observe(val_loss, self._module, patience=stopping.patience, min_delta=stopping.min_delta)
        ended = f"stopped early: epoch {standing.best_epoch} was the best" if standing.ended else ""
        self._reporter.epoch(entry, message=ended)
        self._save_if_due(self._every_s / 10)

    def _rate(self, step: int) -> float:
        """The learning rate at a step of the epoch at hand."""
        standing, settings = self._standing, self._recipe
        fraction = rate_fraction(
            settings.schedule,
            step=standing.epoch * self._batches.num_steps + step,
            epoch=standing.epoch,
            num_steps=self._num_steps,
            drops=standing.plateau.drops,
        )
        return settings.optimizer.lr * fraction

    def _mean_loss(self) -> float:
        """Over the rows of the epoch so far. Raises InvalidRecipe, naming the step, if one of them was not a number."""
        taken = self._standing.step
        losses = self._losses()[:taken].cpu().double()
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            step = int(bad[0])
            where = f"at step {step + 1} of epoch {self._standing.epoch + 1}"
            raise _not_finite(f"the loss became {float(losses[step])} {where}")
        sizes: Tensor = self._sizes[:taken]
        return float((losses * sizes).sum() / sizes.sum())

    def _losses(self) -> Tensor:
        """Of each step of the epoch at hand, over all of its rows."""
        return self._standing.losses

    def _save_if_due(self, every_s: float) -> None:
        if self._must_save(every_s):
            self._save()

    def _must_save(self, every_s: float) -> bool:
        """After `every_s`, or later where saving takes long."""
        wait_s = max(every_s, self._saving_s / SAVING_SHARE) if every_s else 0.0
        return time.monotonic() - self._saved_at_s >= wait_s

    def _save(self) -> None:
        start_s = time.monotonic()
        tensors, state = self._capture()
        self._write(tensors, state)
        self._saved_at_s = time.monotonic()
        self._saving_s = self._saved_at_s - start_s
        if self._num_done() > self._began_at:
            self._saved()

    def _find(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        return read_checkpoint(self._checkpoint, run=self._run)

    def _capture(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return capture(self._standing, self._module, self._optimizer, self._device)

    def _write(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        write_checkpoint(self._checkpoint, tensors, state, run=self._run)

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> Standing:
        return restore(tensors, state, self._module, self._optimizer, self._device)

    def _is_complete(self) -> bool:
        return self._standing.ended or self._standing.epoch >= self._recipe.epochs

    def _num_done(self) -> int:
        """Steps of the whole run."""
        return self._standing.epoch * self._batches.num_steps + self._standing.step


def _not_finite(what: str) -> InvalidRecipe:
    return InvalidRecipe(f"{what}; lower optimizer.lr or set gradient_clip, and see that the features hold no huge numbers")
