"""What is asked next may be made before the outputs of what runs are there: the explanation is the same."""

from __future__ import annotations

import numpy as np
import pytest
from games import TARGET, answering, people, table, twisted

from modeltap.explain.fidelity import fidelity
from modeltap.explain.occlusion import occlude
from modeltap.explain.picture import PicturePlayers
from modeltap.explain.rise import rise
from modeltap.explain.shapley import shapley
from modeltap.explain.steps import drive

PIXELS = np.random.default_rng(0).integers(0, 255, size=(24, 30)).astype(np.uint8)


def drive_ahead(steps, run):
    """As serving does: the next rows are made before the outputs of those before them are handed over."""
    untaken, asked = None, next(steps)
    try:
        while True:
            if asked is None:
                if untaken is not None:
                    untaken()
                untaken, asked = None, next(steps)
                continue
            outputs = run(asked.rows)
            following = next(steps)
            if untaken is not None:
                untaken()
            untaken = lambda take=asked.take, outputs=outputs: take(outputs)  # noqa: E731
            asked = following
    except StopIteration as ended:
        return ended.value


def in_many_parts(monkeypatch):
    for module in ("rise", "occlusion", "shapley", "steps"):
        monkeypatch.setattr(f"modeltap.explain.{module}.at_once", lambda _players: 40)


def bright(batch):
    return {"y": batch["x"].astype(np.float64)[:, 3:9, 4:9].mean(axis=(1, 2))}


@pytest.mark.parametrize("method", ["rise", "occlude", "shapley", "fidelity"])
def test_rows_that_are_made_ahead_give_the_same_bytes(method, monkeypatch):
    in_many_parts(monkeypatch)
    players = PicturePlayers("x", PIXELS)
    row, others = people(1, seed=1)[0], people(16, seed=2)
    run = answering(twisted) if method in ("shapley", "fidelity") else bright

    def steps():
        match method:
            case "rise":
                return rise(players, TARGET, masks=200, seed=1)
            case "occlude":
                return occlude(players, TARGET, answer=float(bright({"x": PIXELS[None]})["y"][0]), rows=200)
            case "shapley":
                return shapley(table(row, others), TARGET, answer=1.0, pairs=40, seed=1)
        return fidelity(table(row, others), TARGET, score_M=row, answer=1.0, steps=6, backgrounds=16, seed=1)

    here, ahead = drive(steps(), run), drive_ahead(steps(), run)
    if method == "fidelity":
        assert here == ahead
    else:
        first, second = (found.values if method == "shapley" else found for found in (here, ahead))
        assert first.tobytes() == second.tobytes()
