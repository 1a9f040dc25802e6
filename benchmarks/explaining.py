"""Whether explanations are true to the model, and what the server adds to making them by hand.

The network of `training` on MNIST, 28×28 pictures (digits of scikit-learn enlarged, where MNIST is not there). Fidelity: the
areas of deletion and insertion on 100 test pictures, with random order beside them; wanted is a deletion area that is smaller
by 0.3 at least. Overhead: the same RISE explanation by /explain over HTTP, and by hand in this process: the same masks, curves
and overlay, on a session of ONNX Runtime with one thread as the server's, in batches of its fastest size, one step
at a time. In turns; wanted are 5 percent at the most. The server makes the next masks while the rows before them run, which
hides some of its work: so what both cost the processor is told, too, what the server adds where there are hardly any rows, and
what the overlay takes of both.
"""

from __future__ import annotations

import base64
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.training import _pictures
from modeltap.bundle.files import GRAPH, open_bundle
from modeltap.client import Client
from modeltap.domain.signature import Batch
from modeltap.engines.select import open_engine
from modeltap.explain.overlay import overlay_png
from modeltap.explain.plan import Wish, plan_explanation
from modeltap.explain.steps import drive

TRAIN_ROWS, TEST_ROWS = 10_000, 500
EXPLAINED = 100
ROUNDS = 21
RISE_ROWS = 4_000
FEW_ROWS = 200
BATCHES = (32, 64, 128, 256)
"""By hand, the one that is fastest is taken."""
MARGIN, OVERHEAD = 0.3, 0.05
RECIPE = """
task: image-classification
model:
  architecture: sequential
  layers:
    - conv2d: {filters: 32, kernel: 3, activation: relu}
    - maxpool2d: {size: 2}
    - flatten
    - dense: {units: 10, activation: softmax}
epochs: 3
"""


def measure() -> str:
    """Two Markdown tables."""
    with served() as (client, unpacked, pixels):
        return f"{_fidelity(unpacked, pixels)}\n\n{overhead(client, unpacked, pixels)}"


@contextmanager
def served() -> Iterator[tuple[Client, Path, Any]]:
    """The network trained and deployed as `digits`, its bundle in a folder, and test pictures."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        command = [sys.executable, "-m", "modeltap", "up", "--home", str(home), "--port", "0", "--grpc-port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not (home / "server.json").exists():
                time.sleep(0.05)
            with Client(home=home, timeout_s=1800) as client:
                pixels = _train(client, Path(folder))
                unpacked = Path(folder) / "bundle"
                _unpack(client, unpacked)
                yield client, unpacked, pixels
        finally:
            server.terminate()
            server.wait()


def _train(client: Client, folder: Path) -> Any:
    """Test pictures, of which the model has seen none; the version is deployed as `digits`."""
    images, labels = _pictures()
    pixels = (images[..., 0] * 255).astype(np.uint8)
    out = io.BytesIO()
    cut = TRAIN_ROWS + TEST_ROWS
    np.savez(
        out,
        x_train=pixels[:TRAIN_ROWS],
        y_train=labels[:TRAIN_ROWS],
        x_test=pixels[TRAIN_ROWS:cut],
        y_test=labels[TRAIN_ROWS:cut],
    )
    (folder / "digits.npz").write_bytes(out.getvalue())
    client.datasets.add(folder / "digits.npz", name="digits")
    result = client.train("digits", recipe=RECIPE)
    client.deployments.create(result.version, name="digits")
    return pixels[TRAIN_ROWS:cut]


def _unpack(client: Client, folder: Path) -> None:
    import zipfile

    with zipfile.ZipFile(client.models.export("digits@1", folder.with_suffix(".zip"))) as archive:
        archive.extractall(folder)


def _fidelity(bundle_folder: Path, pixels: Any) -> str:
    bundle = open_bundle({path.name: path for path in bundle_folder.iterdir()})
    engine = open_engine(bundle)
    (column,) = bundle.manifest.schema.features
    lines = [
        "| method | rows | deletion | insertion | random order | better than random | pictures where it is |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, rows in (("occlusion", 1_000), ("rise", 1_000), ("rise", 4_000)):
        told = []
        for one in pixels[:EXPLAINED]:
            row: Batch = {column.name: one.reshape(1, *column.shape)}
            told.append(drive(plan_explanation(bundle.manifest, row, None, Wish(method, rows)).steps, engine.run))
        deletion, insertion, random = (
            np.array([getattr(one.fidelity, f"{name}_auc") for one in told]) for name in ("deletion", "insertion", "random")
        )
        gain = random - deletion
        lines.append(
            f"| {method} | {told[0].rows:,} | {deletion.mean():.3f} | {insertion.mean():.3f} | {random.mean():.3f} |"
            f" {gain.mean():.3f} ± {1.96 * gain.std(ddof=1) / np.sqrt(len(gain)):.3f} (wanted {MARGIN}) |"
            f" {int((gain > 0).sum())} of {len(gain)} |"
        )
    engine.close()
    return "\n".join([*lines, "", f"{EXPLAINED} test pictures."])


def overhead(client: Client, bundle_folder: Path, pixels: Any) -> str:
    """A Markdown table."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(bundle_folder / GRAPH, options)
    manifest = open_bundle({path.name: path for path in bundle_folder.iterdir()}).manifest
    (column,) = manifest.schema.features
    outputs = [one.name for one in session.get_outputs()]
    row: Batch = {column.name: pixels[0].reshape(1, *column.shape)}
    body = json.dumps({"instances": [pixels[0].tolist()]}).encode()
    form = {"content-type": "application/json"}

    def by_hand(batch: Batch, size: int) -> Batch:
        values = batch[column.name]
        parts = [session.run(outputs, {column.name: values[at : at + size]}) for at in range(0, len(values), size)]
        return {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(outputs)}

    def hand(size: int, rows: int = RISE_ROWS) -> float:
        begun = time.perf_counter()
        steps = plan_explanation(manifest, row, None, Wish("rise", rows)).steps
        drive(steps, lambda batch: by_hand(batch, size))
        return time.perf_counter() - begun

    def asked(rows: int = RISE_ROWS) -> float:
        begun = time.perf_counter()
        wish = {"method": "rise", "rows": str(rows)}
        told = client.transport.json("POST", "/explain/digits", params=wish, content=body, headers=form)
        took_s = time.perf_counter() - begun
        assert told["rows"] == rows
        return took_s

    size = min(BATCHES, key=lambda one: statistics.median([hand(one) for _ in range(4)]))
    server = psutil.Process(client.server().pid)
    for _ in range(4):
        asked()
    sides: dict[str, list[float]] = {"hand": [], "served": []}
    spent: dict[str, list[float]] = {"hand": [], "served": []}
    for number in range(ROUNDS):
        order: list[tuple[str, Callable[[], float]]] = [("hand", lambda: hand(size)), ("served", asked)]
        for which, run in order if number % 2 else reversed(order):
            before_s = _processor_s(server)
            sides[which].append(run())
            spent[which].append(_processor_s(server) - before_s)
    small_s = statistics.median(asked(FEW_ROWS) - hand(size, FEW_ROWS) for _ in range(ROUNDS))
    ratio = statistics.median(own / other for own, other in zip(sides["served"], sides["hand"], strict=True))
    return "\n".join(
        [
            "| RISE explanation | median | processor, mean |",
            "|---|---|---|",
            f"| by hand: the same masks, ONNX Runtime, batches of {size} | {_shown(sides['hand'], spent['hand'])} |",
            f"| `POST /explain` with key, limits, meter, picture and JSON | {_shown(sides['served'], spent['served'])} |",
            f"| overhead, median of rounds | {ratio - 1:+.1%} (wanted at most {OVERHEAD:.0%}) |"
            f" {sum(spent['served']) / sum(spent['hand']) - 1:+.1%} |",
            f"| what the server adds to an explanation of {FEW_ROWS} rows | {small_s * 1000:.1f} ms | |",
            f"| of both sides: the overlay | {_overlay_s(pixels[0]) * 1000:.1f} ms | |",
            "",
            f"{RISE_ROWS:,} rows, {ROUNDS} rounds in turns.",
        ]
    )


def _shown(took_s: list[float], spent_s: list[float]) -> str:
    return f"{statistics.median(took_s) * 1000:.1f} ms | {statistics.mean(spent_s) * 1000:.0f} ms"


def _processor_s(server: psutil.Process) -> float:
    """Of the server and of this process, until now."""
    told = server.cpu_times()
    return float(told.user + told.system) + time.process_time()


def _overlay_s(picture: Any) -> float:
    """The median time of the picture under a heat map, as base64."""
    heat = np.random.default_rng(0).normal(size=picture.shape[:2])
    took_s = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        base64.b64encode(overlay_png(picture, heat))
        took_s.append(time.perf_counter() - begun)
    return statistics.median(took_s)
