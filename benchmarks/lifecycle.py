"""What a search, a compression and an explanation cost beside doing the same by hand with the libraries underneath.

Search: a grid of six networks with one hidden layer on MNIST pictures (scikit-learn's digits enlarged, where MNIST is not
there), sixty epochs each; by hand Optuna's grid and a plain torch loop, in one process. Compression: a network of three blocks
of convolution in whole numbers of eight bits; by hand ONNX Runtime's quantiser over the same rows, and both graphs on the test
part, MNIST's 10,000 pictures.
Explanation: as `explaining`.

What is counted of a job is its runner, from its start to its end, and of the other side a Python process that does the work,
likewise. What only the job does is told apart and not counted: of a compression the look on the validation part which form to
take, the intervals of all metrics and the speed of both networks; of both the bundle with golden rows, pictures with what a
network looks at, card, report, registration. Budget: 5 percent. It takes about seven minutes on two processors; with
--lifecycle-rounds 1 --lifecycle-epochs 5 one.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import explaining
from benchmarks.compression import DEEP
from benchmarks.training import MNIST, _pictures
from modeltap.bundle.files import GRAPH
from modeltap.client import Client
from modeltap.client.events import ProgressEvent

TRAIN_ROWS, VAL_ROWS, TEST_ROWS = 10_000, 800, 2_000
"""The test part is MNIST's own where that is there."""
PARENT = {"task": "image-classification", "model": {"architecture": "sequential", "layers": DEEP}, "epochs": 1}
ROUNDS, EPOCHS = 3, 60
BUDGET = 0.05
RATES, WIDTHS = (0.0003, 0.001, 0.003), (64, 128)
APART = ("looking on the validation part", "drawing the rows again", "measuring the speed", "writing the bundle")
"""How the messages of a job begin with which that begins which is told apart."""
SEARCH_BY_HAND = """
import sys
import numpy as np, optuna, torch
from torch import nn
torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.ERROR)
with np.load(sys.argv[1]) as parts:
    x, y, v, w, t, u = (torch.from_numpy(parts[f"{kind}_{part}"]) for part in ("train", "val", "test") for kind in "xy")
x, v, t = (part.flatten(1).float() / 255 for part in (x, v, t))
rates, widths, epochs = eval(sys.argv[2])
best = [0.0, None]
def objective(trial):
    torch.manual_seed(0)
    width = trial.suggest_categorical("width", widths)
    net = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.Adam(net.parameters(), trial.suggest_categorical("lr", rates))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            right = float((net(v).argmax(1) == w).float().mean())
    if right > best[0]:
        best[:] = right, net
    return right
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GridSampler({"width": widths, "lr": rates}))
study.optimize(objective)
with torch.no_grad():
    print(best[0], float((best[1](t).argmax(1) == u).float().mean()))
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
domains = {one.domain: one.version for one in network.opset_import}
del network.opset_import[:]
network.opset_import.extend(onnx.helper.make_opsetid(*one) for one in domains.items())
takes = network.graph.input[0].name
rows = train[np.linspace(0, len(train) - 1, 512).astype(int)]
class Rows(CalibrationDataReader):
    def __init__(self):
        self.left = iter([{takes: rows[at:at + 64]} for at in range(0, 512, 64)])
    def get_next(self):
        return next(self.left, None)
quantize_static(network, target, Rows(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
options = ort.SessionOptions()
options.intra_op_num_threads = 1
for path in (source, target):
    session = ort.InferenceSession(path, options)
    got = np.concatenate([session.run(["prediction"], {takes: x[at:at + 512]})[0] for at in range(0, len(x), 512)])
    print((got.argmax(1) == y).mean())
"""


class Took(NamedTuple):
    """Seconds: what is counted of a job, and what is told apart."""

    counted_s: float
    apart_s: float


def add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--lifecycle-rounds", type=int, default=ROUNDS, help=f"default {ROUNDS}")
    group.add_argument("--lifecycle-epochs", type=int, default=EPOCHS, help=f"of each network of the search; default {EPOCHS}")


def measure(arguments: argparse.Namespace) -> str:
    """Markdown tables."""
    rounds, epochs = arguments.lifecycle_rounds, arguments.lifecycle_epochs
    with explaining.served() as (client, unpacked, pixels), tempfile.TemporaryDirectory() as folder:
        data = _parts(Path(folder))
        client.datasets.add(data, name="pictures")
        parent = client.train("pictures", recipe=PARENT, name="parent")
        graph = _graph_of(client, parent.version, Path(folder))
        rows = [
            _row(
                f"search of {len(RATES) * len(WIDTHS)} networks, {epochs} epochs each",
                lambda n: _job(client, client.tune("pictures", recipe=search(epochs), name=f"best-{n}", wait=False)),
                lambda: _process(SEARCH_BY_HAND, str(data), repr((RATES, WIDTHS, epochs))),
                rounds,
            ),
            _row(
                "eight bits, compared on the test part",
                lambda n: _job(client, client.compress(parent.version, "int8", name=f"small-{n}", wait=False)),
                lambda: _process(COMPRESS_BY_HAND, str(data), str(graph)),
                rounds,
            ),
        ]
        told = explaining.overhead(client, unpacked, pixels)
    lines = [
        "| what | job, s | by hand, s | overhead, median of rounds | told apart, s |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"{rounds} rounds in turns; wanted are {BUDGET:.0%} at most. Told apart: choice, intervals, speeds, bundle, report.",
        "",
    ]
    return "\n".join([*lines, told])


def search(epochs: int) -> str:
    """The recipe of the search."""
    return f"""
task: image-classification
model: {{architecture: mlp, hidden: [64], dropout: 0.0}}
optimizer: {{name: adam, lr: 0.001}}
epochs: {epochs}
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


def _parts(folder: Path) -> Path:
    """Three parts of pictures, uint8."""
    images, labels = _pictures()
    pixels = (images[..., 0] * 255).astype(np.uint8)
    cuts = np.cumsum([TRAIN_ROWS, VAL_ROWS, TEST_ROWS])
    arrays: dict[str, Any] = {}
    for name, start, end in zip(("train", "val", "test"), (0, *cuts), cuts, strict=False):
        arrays |= {f"x_{name}": pixels[start:end], f"y_{name}": labels[start:end]}
    if MNIST.exists():
        with np.load(MNIST) as whole:
            arrays |= {"x_test": whole["x_test"], "y_test": whole["y_test"].astype(np.int64)}
    path = folder / "pictures.npz"
    np.savez(path, **arrays)
    return path


def _graph_of(client: Client, version: str, folder: Path) -> Path:
    with zipfile.ZipFile(client.models.export(version, folder / "parent.zip")) as archive:
        return Path(archive.extract(GRAPH, folder))


def _row(name: str, job: Callable[[int], Took], by_hand: Callable[[], float], rounds: int) -> str:
    """Which of the two goes first changes from round to round."""
    jobs: list[Took] = []
    hands: list[float] = []
    for number in range(rounds):
        if number % 2:
            hands.append(by_hand())
        jobs.append(job(number))
        if not number % 2:
            hands.append(by_hand())
    ratio = statistics.median(own.counted_s / other for own, other in zip(jobs, hands, strict=True))
    counted_s, apart_s = (statistics.median(seconds) for seconds in zip(*jobs, strict=True))
    return f"| {name} | {counted_s:.1f} | {statistics.median(hands):.1f} | {ratio - 1:+.0%} | {apart_s:.1f} |"


def _job(client: Client, job: Any) -> Took:
    """Of its runner."""
    while not (ended := client.jobs.get(job.id)).is_resting:
        time.sleep(0.1)
    assert ended.state == "succeeded", ended.error
    began_s, ended_s = (datetime.fromisoformat(ended.raw[name]).timestamp() for name in ("started_at", "ended_at"))
    told = [one.progress for one in client.jobs.follow(job.id) if isinstance(one, ProgressEvent)]
    turns = [(one.at_s, one.message) for one in told if one.at_s is not None and one.message and one.phase != "done"]
    ends = [at_s for at_s, _ in turns[1:]] + [ended_s]
    apart_s = sum(end - at_s for (at_s, message), end in zip(turns, ends, strict=True) if message.startswith(APART))
    return Took(ended_s - began_s - apart_s, apart_s)


def _process(code: str, *words: str) -> float:
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"what is done by hand ended with {done.returncode}: {done.stderr[-600:]}")
    return time.perf_counter() - begun
