"""What is asked for → how it is explained, and how many rows that takes: decided before anything runs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from modeltap.domain.model import Manifest
from modeltap.domain.signature import Batch
from modeltap.errors import InvalidInput, nearest
from modeltap.explain.answer import ColumnScore, Explanation, WordScore, heat_rows, plain_error
from modeltap.explain.fidelity import Fidelity, fidelity, fidelity_rows
from modeltap.explain.highlight import highlighted
from modeltap.explain.occlusion import leave_one_out, occlude, window_rows
from modeltap.explain.overlay import overlay_png
from modeltap.explain.picture import PicturePlayers
from modeltap.explain.rise import rise
from modeltap.explain.shapley import plan_pairs, shapley, shapley_rows
from modeltap.explain.steps import Floats, Steps, Target, ask_once
from modeltap.explain.table import TablePlayers
from modeltap.explain.text import TextPlayers, grouped, words_of
from modeltap.tasks import tensors, text_embedding, text_generation
from modeltap.tasks.catalogue import find_task

Form = Literal["table", "picture", "text"]
METHODS: dict[Form, tuple[str, ...]] = {
    "table": ("shapley",),
    "picture": ("occlusion", "rise"),
    "text": ("occlusion", "shapley"),
}
"""The default first."""
DEFAULT_ROWS: dict[Form, int] = {"table": 2_000, "picture": 1_000, "text": 1_000}
MAX_WORDS = 4_000
FEW_WALKS = 4
"""Pairs of permutations that a text's groups of words are few enough for."""
TABLE_POINTS, PICTURE_POINTS, TEXT_POINTS = 16, 32, 16
"""Of the curves of deletion and insertion."""
TABLE_BACKGROUNDS = 8
"""That such a point is the mean of, at most; the curves take no more than a quarter of the rows where that can be helped."""


class Wish(NamedTuple):
    """What the caller says; None is left to us."""

    method: str | None = None
    rows: int | None = None
    seed: int = 0
    label: str | None = None


class Planned(NamedTuple):
    """`rows`: what `steps` asks in all."""

    rows: int
    steps: Steps[Explanation]


def form_of(manifest: Manifest) -> Form:
    """What one row of the model is. Raises InvalidInput for a model whose answers are not explained."""
    if manifest.task in (text_embedding.TASK.name, text_generation.TASK.name) or manifest.language is not None:
        what = "writes text" if manifest.language is not None else "gives vectors"
        raise InvalidInput(f"the model {what}, and only answers that are a class or a number are explained")
    features = manifest.schema.features
    if not features or not manifest.is_batched or manifest.task == tensors.TASK.name:
        raise InvalidInput("the model is a graph of bare tensors, and only answers that are a class or a number are explained")
    answer = next((spec for spec in manifest.signature.outputs if spec.name == manifest.output), None)
    if answer is None or len(answer.shape) != (2 if manifest.labels else 1):
        raise InvalidInput(
            "the model answers with several numbers, and only answers that are a class or a number are explained"
        )
    if len(features) == 1:
        (only,) = features
        if only.kind == "text":
            return "text"
        if len(only.shape) in (2, 3) and (only.kind == "image" or "images" in find_task(manifest.task).forms):
            return "picture"
    if any(column.kind == "image" for column in features):
        raise InvalidInput("the model takes pictures among other columns, and only a single picture is explained")
    return "table"


def check_wish(manifest: Manifest, wish: Wish) -> Form:
    """The form, if the wish fits the model. Raises InvalidInput naming what is allowed."""
    form = form_of(manifest)
    if wish.method is not None and wish.method not in METHODS[form]:
        raise InvalidInput(
            f"method is '{wish.method[:40]}'; a {_row_word(form)} is explained by: {', '.join(METHODS[form])}",
            fields=[("method", f"one of {', '.join(METHODS[form])}")],
        )
    if wish.label is not None and not manifest.labels:
        raise InvalidInput("class is given, and the model answers with a number; leave it out", fields=[("class", "not known")])
    if wish.label is not None and wish.label not in manifest.labels:
        told = f"the model has no class '{wish.label[:80]}'{nearest(wish.label, manifest.labels)}"
        raise InvalidInput(told, fields=[("class", "not known")])
    return form


def plan_explanation(manifest: Manifest, row: Batch, background: Batch | None, wish: Wish) -> Planned:
    """How one typed row is explained; of a table `background` is there. Raises InvalidInput as `check_wish`, and for fewer rows
    than it takes."""
    form = check_wish(manifest, wish)
    wish = wish._replace(method=wish.method or METHODS[form][0], rows=wish.rows or DEFAULT_ROWS[form])
    if form == "table":
        assert background is not None, "a table is explained against a background"
        return _plan_table(manifest, row, background, wish)
    return _plan_picture(manifest, row, wish) if form == "picture" else _plan_text(manifest, row, wish)


def _plan_table(manifest: Manifest, row: Batch, background: Batch, wish: Wish) -> Planned:
    rows = wish.rows or 0
    players = TablePlayers(manifest.schema.features, row, background)
    num, others = players.count, players.num_backgrounds
    each = fidelity_rows(num, steps=TABLE_POINTS, backgrounds=1)
    _check_rows(rows, 1 + each + shapley_rows(num, pairs=1, num_backgrounds=others), f"{num} columns")
    means = max(1, min(TABLE_BACKGROUNDS, others, rows // 4 // each))
    pairs = max(1, plan_pairs(num, others, rows=rows - 1 - means * each))
    total = 1 + means * each + shapley_rows(num, pairs=pairs, num_backgrounds=others)

    def steps() -> Steps[Explanation]:
        outputs = yield from ask_once(row)
        target, label = _target(manifest, wish, outputs)
        answer = float(target.values(outputs)[0])
        found = yield from shapley(players, target, answer=answer, pairs=pairs, seed=wish.seed)
        towards = found.values if label is not None or answer >= found.base else -found.values
        told = yield from fidelity(
            players, target, score_M=towards, answer=answer, steps=TABLE_POINTS, backgrounds=means, seed=wish.seed
        )
        scores = [
            ColumnScore(column=name, value=cell, shapley=value, error=plain_error(error))
            for name, cell, value, error in zip(
                players.names, players.cells, found.values.tolist(), found.errors.tolist(), strict=True
            )
        ]
        return Explanation(
            prediction=_prediction(manifest, outputs),
            method="shapley",
            answer=answer,
            label=label,
            base=found.base,
            values=sorted(scores, key=lambda score: -abs(score.shapley)),
            fidelity=msgspec.structs.replace(told, additivity_gap=found.gap),
            backgrounds=found.num_backgrounds,
            permutations=found.num_permutations,
            rows=total,
            seed=wish.seed,
        )

    return Planned(total, steps())


def _plan_picture(manifest: Manifest, row: Batch, wish: Wish) -> Planned:
    rows = wish.rows or 0
    (column,) = manifest.schema.features
    players = PicturePlayers(column.name, row[column.name][0])
    curves = fidelity_rows(players.count, steps=PICTURE_POINTS, backgrounds=1)
    if wish.method == "rise":
        _check_rows(rows, 1 + curves + 2, "a picture by rise")
        own = (rows - 1 - curves) // 2 * 2
    else:
        _check_rows(rows, 1 + curves + window_rows(players.height, players.width, rows=1), "a picture by occlusion")
        own = window_rows(players.height, players.width, rows=rows - 1 - curves)
    total = 1 + curves + own

    def steps() -> Steps[Explanation]:
        outputs = yield from ask_once(row)
        target, label = _target(manifest, wish, outputs)
        answer = float(target.values(outputs)[0])
        if wish.method == "rise":
            heat_HW = yield from rise(players, target, masks=own, seed=wish.seed)
        else:
            heat_HW = yield from occlude(players, target, answer=answer, rows=rows - 1 - curves)
        told = yield from fidelity(
            players, target, score_M=heat_HW.ravel(), answer=answer, steps=PICTURE_POINTS, backgrounds=1, seed=wish.seed
        )
        return Explanation(
            prediction=_prediction(manifest, outputs),
            method=wish.method or "",
            answer=answer,
            label=label,
            heat=heat_rows(heat_HW),
            png=base64.b64encode(overlay_png(players.pixels, heat_HW)).decode(),
            fidelity=told,
            rows=total,
            seed=wish.seed,
        )

    return Planned(total, steps())


def _plan_text(manifest: Manifest, row: Batch, wish: Wish) -> Planned:
    rows = wish.rows or 0
    (column,) = manifest.schema.features
    text = str(row[column.name][0])
    words = words_of(text)
    if not words or len(words) > MAX_WORDS:
        raise InvalidInput(f"the text has {len(words):,} words; explained are texts of 1 to {MAX_WORDS:,}")
    most_curves = fidelity_rows(TEXT_POINTS, steps=TEXT_POINTS, backgrounds=1)
    left = rows - 1 - most_curves
    most = left if wish.method == "occlusion" else 1 + (left - 1) // (2 * FEW_WALKS)
    _check_rows(rows, 2 + most_curves + (0 if wish.method == "occlusion" else 1), "a text")
    players = TextPlayers(column.name, text, grouped(words, most))
    curves = fidelity_rows(players.count, steps=TEXT_POINTS, backgrounds=1)
    pairs = max(1, (rows - 2 - curves) // max(1, 2 * (players.count - 1)))
    if players.count == 1:
        pairs = 1
    own = players.count if wish.method == "occlusion" else shapley_rows(players.count, pairs=pairs, num_backgrounds=1)
    total = 1 + curves + own

    def steps() -> Steps[Explanation]:
        outputs = yield from ask_once(row)
        target, label = _target(manifest, wish, outputs)
        answer = float(target.values(outputs)[0])
        score_M: Floats
        error_M: list[float | None] = [None] * players.count
        found = None
        if wish.method == "occlusion":
            score_M = yield from leave_one_out(players, target, answer=answer)
        else:
            found = yield from shapley(players, target, answer=answer, pairs=pairs, seed=wish.seed)
            score_M, error_M = found.values, [plain_error(error) for error in found.errors.tolist()]
        told = yield from fidelity(
            players, target, score_M=score_M, answer=answer, steps=TEXT_POINTS, backgrounds=1, seed=wish.seed
        )
        scores = _word_scores(players, score_M.tolist(), error_M)
        return Explanation(
            prediction=_prediction(manifest, outputs),
            method=wish.method or "",
            answer=answer,
            label=label,
            base=None if found is None else found.base,
            words=scores,
            html=highlighted(text, scores),
            fidelity=_with_gap(told, None if found is None else found.gap),
            permutations=None if found is None else found.num_permutations,
            rows=total,
            seed=wish.seed,
        )

    return Planned(total, steps())


def _word_scores(players: TextPlayers, scores: Sequence[float], errors: Sequence[float | None]) -> list[WordScore]:
    told = []
    for group, score, error in zip(players.groups, scores, errors, strict=True):
        start, end = group[0].start, group[-1].end
        told.append(WordScore(text=players.text[start:end], start=start, end=end, score=score, error=error))
    return told


def _with_gap(told: Fidelity, gap: float | None) -> Fidelity:
    return told if gap is None else msgspec.structs.replace(told, additivity_gap=gap)


def _target(manifest: Manifest, wish: Wish, outputs: Batch) -> tuple[Target, str | None]:
    """What is explained: the class that is named, or the predicted one; the number of a regression."""
    if not manifest.labels:
        return Target(manifest.output), None
    label = wish.label
    index = int(np.argmax(outputs[manifest.output][0])) if label is None else manifest.labels.index(label)
    return Target(manifest.output, index), manifest.labels[index]


def _prediction(manifest: Manifest, outputs: Batch) -> object:
    return find_task(manifest.task).decode(outputs, manifest.output, manifest.labels)[0]


def _row_word(form: Form) -> str:
    return "table's row" if form == "table" else form


def _check_rows(rows: int, least: int, what: str) -> None:
    if rows < least:
        raise InvalidInput(
            f"rows is {rows:,}; explaining {what} takes at least {least:,}", fields=[("rows", f"at least {least}")]
        )
