"""A language model trained by several processes: its ids as arrays, and what each process makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from modeltap.domain.dataset import Part
from modeltap.training.determinism import deterministic
from modeltap.training.distributed.files import Heard, LanguageTerms, RanksFolder
from modeltap.training.distributed.group import Ranks
from modeltap.training.distributed.run import train_together
from modeltap.training.language.batches import Learned, cut_seed, learned_from
from modeltap.training.language.building import build_trainee
from modeltap.training.language.learning import Lesson, learn
from modeltap.training.language.loop import Trainee
from modeltap.training.standing import Standing

BYTES = "bytes"
PARTS: tuple[Part, ...] = ("train", "val")


def learn_together(given: Lesson, trainee: Trainee, *, threads: int, vocabulary: int, base: Mapping[str, Path]) -> Standing:
    """As `learn`, by `distributed.processes` processes. Raises as it does, and RanksLost."""
    terms = LanguageTerms(
        run=given.run,
        recipe=given.recipe,
        threads=threads,
        workdir=str(given.workdir.absolute()),
        checkpoint_every_s=given.checkpoint_every_s,
        vocabulary=vocabulary,
        context=given.context,
        base={name: str(path.absolute()) for name, path in base.items()},
    )
    parts = {part: given.learned[part] for part in PARTS if part in given.learned}
    arrays = {f"{part}.{name}": array for part, learned in parts.items() for name, array in learned.arrays().items()}
    heard = Heard(given.report, given.saved, given.stop_requested)
    kept = train_together(terms, {**arrays, BYTES: given.token_bytes.numpy()}, epochs=given.rounds.num_rounds, heard=heard)
    trainee.load_state_dict(kept.weights)
    return kept.standing


def learn_share(terms: LanguageTerms, folder: RanksFolder, ranks: Ranks, heard: Heard) -> None:
    """What one of the processes does."""
    recipe = terms.recipe
    own = folder.path / f"base.{ranks.share.rank}"
    shutil.rmtree(own, ignore_errors=True)  # of a process that died
    base = {name: Path(path) for name, path in terms.base.items()}
    with deterministic(seed=recipe.seed, threads=terms.threads):
        trainee, _ = build_trainee(recipe, vocabulary=terms.vocabulary, base=base, folder=own, device=ranks.device)
        given = Lesson(
            recipe=recipe,
            learned={part: _map(folder, part, terms) for part in PARTS if folder.has(f"{part}.ids")},
            token_bytes=torch.from_numpy(folder.map(BYTES).copy()),
            context=terms.context,
            run=terms.run,
            workdir=Path(terms.workdir),
            checkpoint_every_s=terms.checkpoint_every_s,
            report=heard.report,
            saved=heard.saved,
            stop_requested=heard.stop_requested,
        )
        learn(given, trainee.to(ranks.device), device=ranks.device, ranks=ranks)


def _map(folder: RanksFolder, part: Part, terms: LanguageTerms) -> Learned:
    names = ("ids", "is_learned", "starts")
    arrays = {name: folder.map(f"{part}.{name}") for name in names if folder.has(f"{part}.{name}")}
    return learned_from(arrays, context=terms.context, seed=cut_seed(part, terms.recipe.seed))
