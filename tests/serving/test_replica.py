"""A warm version: it answers in the forms of its task, refuses what is no number, and repeats its golden rows."""

from __future__ import annotations

import asyncio
import io

import msgspec
import numpy as np
import pytest
from workshop import Plane, Workshop

from modeltap.bundle.files import GOLDEN, GRAPH
from modeltap.errors import Broken, GoldenMismatch, InvalidValue
from modeltap.serving.replica import Replica


@pytest.fixture(scope="module")
def unscaled(workshop: Workshop) -> str:
    """A network over raw 32-bit numbers, so that the largest of them overflow in it."""
    out = io.BytesIO()
    values = np.random.default_rng(0).normal(size=(80, 12)).astype(np.float32)
    np.savez(out, x=values, y=(values[:, 0] > 0).astype(np.int64))
    workshop.add("unscaled", out.getvalue(), "unscaled.npz")
    recipe = {"model": "linear", "epochs": 1, "data": {"transforms": {"numbers": "none"}}}
    return str(workshop.train("unscaled", "tabular-classification", recipe)["version"])


def test_an_answer_that_is_no_number_is_refused_and_its_row_named(workshop, unscaled):
    plane = Plane(workshop, {"u": unscaled})
    small, large = [0.5] * 12, [3e38, -3e38] * 6
    assert plane.post("/predict/u", json={"instances": [small]}).status_code == 200
    answer = plane.post("/predict/u", json={"instances": [small, large]})
    assert answer.status_code == 422 and "row 2 has no finite answer" in answer.json()["detail"]
    tensor = {"name": "x", "shape": [1, 12], "datatype": "FP32", "data": large}
    answer = plane.post("/v2/models/u/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400 and "row 1 has no finite answer" in answer.json()["error"]
    plane.close()


def test_requests_at_once_get_each_their_own_answers(workshop, unscaled):
    replica = workshop.replica(unscaled)
    rows = np.random.default_rng(1).normal(size=(64, 12)).round(2).tolist()

    async def one(row: list[float]) -> list[float]:
        outputs = await replica.run(replica.reader.rows([row]))
        return [float(p) for p in outputs["prediction"][0]]

    async def together() -> list[list[float]]:
        return await asyncio.gather(*map(one, rows))

    at_once = asyncio.run(together())
    whole = asyncio.run(replica.run(replica.reader.rows(rows)))
    assert at_once == whole["prediction"].tolist()
    replica.close()


def test_a_bundle_that_does_not_repeat_its_answers_or_cannot_be_loaded_is_no_replica(workshop, unscaled, tmp_path):
    files = workshop.files(unscaled)
    golden = msgspec.json.decode(files[GOLDEN].read_bytes())
    golden["answers"]["prediction"][3][0] += 1e-4
    (tmp_path / GOLDEN).write_bytes(msgspec.json.encode(golden))
    with pytest.raises(GoldenMismatch, match="golden row 4"):
        Replica("u@1", {**files, GOLDEN: tmp_path / GOLDEN})
    (tmp_path / GRAPH).write_bytes(files[GRAPH].read_bytes()[:-50])
    with pytest.raises(Broken, match="cannot load the graph"):
        Replica("u@1", {**files, GRAPH: tmp_path / GRAPH})


def test_values_that_the_graph_cannot_take_are_a_named_failure(workshop, unscaled):
    replica = workshop.replica(unscaled)
    with pytest.raises(Broken, match="the graph failed on these values") as problem:
        asyncio.run(replica.run({"x": np.zeros((1, 5), dtype=np.float32)}))
    assert "MatMul" not in problem.value.message
    with pytest.raises(InvalidValue, match="'x' is missing"):
        asyncio.run(replica.run({"z": np.zeros((1, 5), dtype=np.float32)}))
    replica.close()
