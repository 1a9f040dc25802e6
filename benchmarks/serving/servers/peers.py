"""The peers: what is installed for each, the command that serves it, how it is asked. Each as its makers would run it fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving.environments import find_environment, installed_versions
from benchmarks.serving.graph import Floats
from benchmarks.serving.process import free_port, launched, wait_until_right
from benchmarks.serving.servers.contract import Endpoint, Run
from benchmarks.serving.wire import Form, inference_binary, inference_json, plain_json, raw_bytes, rows_json

PROGRAMS = Path(__file__).parents[1] / "peers"
RUNTIME = ("numpy", f"onnxruntime=={version('onnxruntime')}")
"""The same ONNX Runtime for all."""
UVICORN = ("httptools", "uvloop")
"""What uvicorn takes by itself where it is there: peers that do not ask for it are faster with it."""
DEBIAN_PYTHON = "/usr/bin/python3"
"""Triton's Python backend loads libpython, which interpreters that were built for themselves often lack."""


@dataclass(frozen=True)
class Peer:
    """A server of somebody else's. In `command`, {python}, {bin}, {port}, {scratch} and {programs} are filled in."""

    name: str
    about: str
    requirements: tuple[str, ...]
    shown: tuple[str, ...]
    command: tuple[str, ...]
    forms: Callable[[Floats], dict[str, Form]]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Name → text of what the server wants to find in its folder; filled in like the command, with << >> for braces."""
    interpreter: str = sys.executable

    def versions(self) -> str:
        return installed_versions(self._python(), (*self.shown, "onnxruntime"))

    @contextmanager
    def start(self, run: Run) -> Iterator[Endpoint]:
        port, log = free_port(), run.scratch / "log.txt"
        python = self._python()
        places = {"python": python, "bin": python.parent, "port": port, "scratch": run.scratch, "programs": PROGRAMS}
        for name, text in self.files.items():
            filled = text.format(**places, spare=free_port(), other=free_port())
            (run.scratch / name).write_text(filled.replace("<<", "{").replace(">>", "}"))
        environment = {
            "BENCH_GRAPH": str(run.graph),
            "BENCH_PORT": str(port),
            "BENCH_SCRATCH": str(run.scratch),
            "BENTOML_HOME": str(run.scratch / "bentoml"),
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environment,
        }
        command = [part.format(**places) for part in self.command]
        with launched(command, log=log, environment=environment, cwd=run.scratch) as process:
            forms = self.forms(run.row)
            right, refused = wait_until_right(process, forms, port, run.expected, log=log)
            yield Endpoint(port, right, refused, process.pid)

    def _python(self) -> Path:
        return find_environment(self.name, self.requirements, interpreter=self.interpreter)


def _plain(row_NHWC: Floats) -> dict[str, Form]:
    return {"json": plain_json(row_NHWC, "/predict")}


MLSERVER_MODEL = '<<"name": "cnn", "implementation": "mlserver_server.ReferenceCnn">>'
MLSERVER_SETTINGS = """<<"host": "127.0.0.1", "http_port": {port}, "grpc_port": {spare}, "metrics_port": {other},
"parallel_workers": 0, "debug": false, "gzip_enabled": false, "metrics_endpoint": null>>"""

PEERS = (
    Peer(
        name="flask",
        about="gunicorn, one sync worker",
        requirements=("flask", "gunicorn", *RUNTIME),
        shown=("flask", "gunicorn"),
        command=("{python}", "-m", "gunicorn", "--workers=1", "--bind=127.0.0.1:{port}", "flask_server:app"),
        forms=_plain,
    ),
    Peer(
        name="fastapi",
        about="uvicorn with uvloop and httptools, pydantic body, async route",
        requirements=("fastapi", "uvicorn[standard]", *RUNTIME),
        shown=("fastapi", "pydantic", "uvicorn"),
        command=(
            *("{python}", "-m", "uvicorn", "fastapi_server:app", "--host=127.0.0.1", "--port={port}"),
            *("--no-access-log", "--loop=uvloop", "--http=httptools"),
        ),
        forms=_plain,
    ),
    Peer(
        name="litserve",
        about="one API process, one worker, batches ≤ 32, wait 1 ms",
        requirements=("litserve", *RUNTIME),
        shown=("litserve", "fastapi", "uvicorn"),
        command=("{python}", "{programs}/litserve_server.py"),
        forms=_plain,
    ),
    Peer(
        name="bentoml",
        about="one worker, adaptive batches ≤ 32",
        requirements=("bentoml", *UVICORN, *RUNTIME),
        shown=("bentoml", "uvicorn"),
        command=("{python}", "-m", "bentoml", "serve", "bentoml_server:ReferenceCnn", "--host=127.0.0.1", "--port={port}"),
        forms=lambda row: {"json": rows_json(row, "/predict")},
        environment={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_CONFIG_OPTIONS": "api_server.logging.access.enabled=false"},
    ),
    Peer(
        name="mlserver",
        about="custom runtime in the server's process",
        requirements=("mlserver", *UVICORN, *RUNTIME),
        shown=("mlserver", "fastapi", "uvicorn"),
        command=("{bin}/mlserver", "start", "{scratch}"),
        forms=lambda row: {"json": inference_json(row, "/v2/models/cnn/infer")},
        files={"model-settings.json": MLSERVER_MODEL, "settings.json": MLSERVER_SETTINGS},
    ),
    Peer(
        name="mosec",
        about="one worker, batches ≤ 32, wait 1 ms; binary: the row's bytes",
        requirements=("mosec", *RUNTIME),
        shown=("mosec",),
        command=("{python}", "{programs}/mosec_server.py", "--address=127.0.0.1", "--port={port}", "--log-level=warning"),
        forms=lambda row: {"json": plain_json(row, "/predict"), "binary": raw_bytes(row, "/bytes")},
    ),
    Peer(
        name="ray-serve",
        about="one proxy, one replica, batches ≤ 32, wait 1 ms",
        requirements=("ray[serve]", *RUNTIME),
        shown=("ray", "uvicorn"),
        command=("{python}", "{programs}/ray_server.py"),
        forms=_plain,
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
    ),
    Peer(
        name="triton",
        about="tritonserver of the pytriton wheel, Python backend, batches ≤ 32, wait 0.5 ms",
        requirements=("nvidia-pytriton", *RUNTIME),
        shown=("nvidia-pytriton",),
        command=("{python}", "{programs}/triton_server.py", "{port}", "{scratch}"),
        forms=lambda row: {
            "json": inference_json(row, "/v2/models/cnn/infer"),
            "binary": inference_binary(row, "/v2/models/cnn/infer"),
        },
        interpreter=DEBIAN_PYTHON,
    ),
)
