"""A program that uses the SDK as a typed library. mypy reads it in the gate; nothing runs it."""

from decimal import Decimal
from pathlib import Path
from typing import assert_type

import modeltap
from modeltap.client import Allowance, Dataset, Deployment, Job, Predictions, TrainResult, Version


def train_and_ask(table: Path) -> float:
    with modeltap.Client(home=".modeltap") as client:
        dataset = assert_type(client.datasets.add(table, name="adult", target="income"), Dataset)
        waited = assert_type(client.train(dataset, task="tabular-classification"), TrainResult)
        queued = assert_type(client.train(dataset, recipe={"epochs": 3}, wait=False), Job)
        ended = assert_type(client.jobs.wait(queued.id), Job)
        deployment = assert_type(client.deployments.create(waited.version, name="income"), Deployment)
        answers = assert_type(client.predict(deployment, [{"age": 39}]), Predictions)
        assert_type(answers.cost, Decimal | None)
        assert_type(answers.receipt.requests, Allowance | None)
        version = assert_type(client.models.get("adult@1"), Version)
        assert ended.is_resting
        return float(version.metrics["test"]["accuracy"]) if answers.model else 0.0
