"""The prototype without features, run by this interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.environments import installed_versions
from benchmarks.serving.process import free_port, launched, wait_until_right
from benchmarks.serving.servers.contract import Endpoint, Run
from benchmarks.serving.wire import inference_binary, inference_json

PATH = "/v2/models/cnn/infer"


class Prototype:
    """`prototype.py`: what uvicorn, simdjson and ONNX Runtime can do with nothing in between."""

    name = "prototype"
    about = "bare ASGI, no keys, limits or meter; batches of one turn of the loop, ≤ 32"

    def versions(self) -> str:
        return installed_versions(Path(sys.executable), ("uvicorn", "uvloop", "httptools", "pysimdjson", "onnxruntime"))

    @contextmanager
    def start(self, run: Run) -> Iterator[Endpoint]:
        port, log = free_port(), run.scratch / "log.txt"
        command = [sys.executable, "-m", "benchmarks.serving.prototype", str(run.graph), str(port)]
        with launched(command, log=log) as process:
            forms = {"json": inference_json(run.row, PATH), "binary": inference_binary(run.row, PATH)}
            right, refused = wait_until_right(process, forms, port, run.expected, log=log)
            yield Endpoint(port, right, refused, process.pid)
