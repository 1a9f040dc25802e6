"""What a search, a compression and an explanation cost beside doing the same by hand with the libraries underneath.

Search: a grid of six networks with one hidden layer on MNIST pictures (scikit-learn's digits enlarged, where MNIST is not
there), ten epochs each; by hand Optuna's grid and a plain torch loop, in one process. Compression: the reference network in
whole numbers of eight bits; by hand ONNX Runtime's quantiser over the same rows, and both graphs on the test part.
Explanation: as `explaining`.

What is counted of a job is its runner, from its start to its end, and of the other side a Python process that does the work,
likewise. The speed of both networks, which a certificate states and nobody measures by hand, is told apart. Budget: 5 percent.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import explaining
from benchmarks.training import _pictures
from modeltap.bundle.files import GRAPH
from modeltap.client import Client
from modeltap.client.events import ProgressEvent

TRAIN_ROWS, VAL_ROWS, TEST_ROWS = 10_000, 800, 2_000
ROUNDS = 3
BUDGET = 0.05
RATES, WIDTHS = (0.0003, 0.001, 0.003), (64, 128)
SEARCH = f"""
task: image-classification
model: {{architecture: mlp, hidden: [64], dropout: 0.0}}
optimizer: {{name: adam, lr: 0.001}}
epochs: 10
batch_size: 64
threads: 1
early_stopping: null
search:
  trials: {len(RATES) * len(WIDTHS)}
  sampler: grid
  pruner: none
  parallel: 1
  space:
    optimizer.lr: {{choices: {list(RATES)}}}
    model.hidden: {{choices: {[[width] for width in WIDTHS]}}}
"""
SEARCH_BY_HAND = """
import sys
import numpy as np, optuna, torch
from torch import nn
torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.ERROR)
with np.load(sys.argv[1]) as parts:
    x, y, v, w = (torch.from_numpy(parts[name]) for name in ("x_train", "y_train", "x_val", "y_val"))
x, v = (part.flatten(1).float() / 255 for part in (x, v))
rates, widths = eval(sys.argv[2])
def objective(trial):
    torch.manual_seed(0)
    width = trial.suggest_categorical("width", widths)
    net = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.Adam(net.parameters(), trial.suggest_categorical("lr", rates))
    for _ in range(10):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            right = (net(v).argmax(1) == w).float().mean()
    return float(right)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GridSampler({"width": widths, "lr": rates}))
study.optimize(objective)
"""
COMPRESS_BY_HAND = """
import sys
from pathlib import Path
import numpy as np, onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
with np.load(sys.argv[1]) as parts:
    train, x, y = parts["x_train"], parts["x_test"], parts["y_test"]
source, target = Path(sys.argv[2]), Path(sys.argv[2]).with_suffix(".int8.onnx")
network = onnx.load(source)
takes = network.graph.input[0].name
rows = train[np.linspace(0, len(train) - 1, 512).astype(int)]
class Rows(CalibrationDataReader):
    def __init__(self):
        self.left = iter([{takes: rows[at:at + 64, ..., None]} for at in range(0, 512, 64)])
    def get_next(self):
        return next(self.left, None)
quantize_static(network, target, Rows(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
for path in (source, target):
    session = ort.InferenceSession(path)
    got = [session.run(None, {takes: x[at:at + 512, ..., None]})[0] for at in range(0, len(x), 512)]
"""


def measure() -> str:
    """Markdown tables."""
    with explaining.served() as (client, unpacked, pixels), tempfile.TemporaryDirectory() as folder:
        data = _parts(Path(folder))
        client.datasets.add(data, name="pictures")
        parent = client.train("pictures", recipe=explaining.RECIPE, name="parent")
        with_graph = _graph_of(client, parent.version, Path(folder))
        words = repr((RATES, WIDTHS))
        rows = [
            _row(
                "search of six networks",
                lambda number: _job(client, client.tune("pictures", recipe=SEARCH, name=f"best-{number}", wait=False)),
                lambda: _process(SEARCH_BY_HAND, str(data), words),
            ),
            _row(
                "eight bits, compared on the test part",
                lambda number: _job(client, client.compress(parent.version, "int8", name=f"small-{number}", wait=False)),
                lambda: _process(COMPRESS_BY_HAND, str(data), str(with_graph)),
            ),
        ]
        told = explaining.overhead(client, unpacked, pixels)
    lines = [
        "| what | job, s | by hand, s | overhead, median of rounds | of it told apart, s |",
        "|---|---|---|---|---|",
        *rows,
    ]
    return "\n".join([*lines, *rows, "", f"{ROUNDS} rounds in turns; wanted are {BUDGET:.0%} at the most.", "", told])


def _parts(folder: Path) -> Path:
    """Three parts of pictures, uint8."""
    images, labels = _pictures()
    pixels = (images[..., 0] * 255).astype(np.uint8)
    cuts = np.cumsum([TRAIN_ROWS, VAL_ROWS, TEST_ROWS])
    arrays = {}
    for name, start, end in zip(("train", "val", "test"), (0, *cuts), cuts, strict=False):
        arrays |= {f"x_{name}": pixels[start:end], f"y_{name}": labels[start:end]}
    path = folder / "pictures.npz"
    np.savez(path, **arrays)
    return path


def _graph_of(client: Client, version: str, folder: Path) -> Path:
    with zipfile.ZipFile(client.models.export(version, folder / "parent.zip")) as archive:
        return Path(archive.extract(GRAPH, folder))


def _row(name: str, job: Callable[[int], tuple[float, float]], by_hand: Callable[[], float]) -> str:
    jobs, hands, apart = [], [], []
    for number in range(ROUNDS):
        hands.append(by_hand())
        took_s, speed_s = job(number)
        jobs.append(took_s)
        apart.append(speed_s)
    ratio = statistics.median(own / other for own, other in zip(jobs, hands, strict=True))
    return (
        f"| {name} | {statistics.median(jobs):.1f} | {statistics.median(hands):.1f} | {ratio - 1:+.0%}"
        f" | {statistics.median(apart):.1f} |"
    )


def _job(client: Client, job: Any) -> tuple[float, float]:
    """Seconds of its runner, and of those the ones in which it measured speeds."""
    while not (ended := client.jobs.get(job.id)).is_resting:
        time.sleep(0.1)
    assert ended.state == "succeeded", ended.error
    took_s = (datetime.fromisoformat(ended.raw["ended_at"]) - datetime.fromisoformat(ended.raw["started_at"])).total_seconds()
    speed_s, since_s = 0.0, None
    for event in client.jobs.follow(job.id):
        if isinstance(event, ProgressEvent) and event.progress.at_s is not None:
            if since_s is not None:
                speed_s += event.progress.at_s - since_s
            since_s = event.progress.at_s if event.progress.message.startswith("measuring the speed") else None
    return took_s - speed_s, speed_s


def _process(code: str, *words: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *words], check=True, capture_output=True)
    return time.perf_counter() - begun
