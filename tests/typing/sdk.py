"""A program that uses the SDK as a typed library. mypy reads it in the gate; nothing runs it."""

from decimal import Decimal
from pathlib import Path
from typing import assert_type

import modeltap
from modeltap.client import Allowance, Dataset, Deployment, Explanations, Job, Predictions, TrainResult, TuneResult, Version


def train_and_ask(table: Path) -> float:
    with modeltap.Client(home=".modeltap") as client:
        dataset = assert_type(client.datasets.add(table, name="adult", target="income"), Dataset)
        waited = assert_type(client.train(dataset, task="tabular-classification"), TrainResult)
        queued = assert_type(client.train(dataset, recipe={"epochs": 3}, wait=False), Job)
        searched = assert_type(client.tune(dataset, recipe="search.yaml", trials=40), TuneResult)
        assert_type(client.tune(dataset, recipe={"search": {}}, wait=False), Job)
        assert searched.trials["complete"] <= len(client.tune.trials(searched.job))
        ended = assert_type(client.jobs.wait(queued.id), Job)
        deployment = assert_type(client.deployments.create(waited.version, name="income"), Deployment)
        answers = assert_type(client.predict(deployment, [{"age": 39}]), Predictions)
        assert_type(answers.cost, Decimal | None)
        assert_type(answers.receipt.requests, Allowance | None)
        reasons = assert_type(client.explain(deployment, [{"age": 39}], rows=500), Explanations)
        assert_type(reasons[0].png, bytes)
        version = assert_type(client.models.get("adult@1"), Version)
        assert ended.is_resting
        return float(version.metrics["test"]["accuracy"]) if answers.model else 0.0
