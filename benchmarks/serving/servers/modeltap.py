"""modeltap with everything on: keys, limits, meter, metrics; started and filled by its own command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.serving.compiled import compiled_packages
from benchmarks.serving.environments import CannotInstall, installed_versions
from benchmarks.serving.process import (
    POLL_S,
    SERVER_CORE,
    START_LIMIT_S,
    DidNotStart,
    last_words,
    launched,
    told_by,
    wait_until_right,
)
from benchmarks.serving.servers.contract import Endpoint, Run
from benchmarks.serving.wire import inference_binary, inference_json

MODEL = "cnn"
LIMITS = ("--rpm", "100000000", "--upm", "100000000")
"""Far more than is asked for: the limits are counted, and none is reached."""


@dataclass(frozen=True)
class Variation:
    """How modeltap is started, other than usual: a feature off, or more workers."""

    name: str
    flags: tuple[str, ...] = ()
    """Of `modeltap up`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the server's process."""
    key_flags: tuple[str, ...] = LIMITS
    """Of `modeltap keys create`."""
    cores: str = SERVER_CORE
    is_compiled: bool = True
    """As its wheel has it; else as a checkout runs it."""


AS_IT_IS = Variation("as it is")
WORKERS = (
    Variation("1 worker", cores=f"{SERVER_CORE},1"),
    Variation("2 workers", flags=("--workers", "2"), cores=f"{SERVER_CORE},1"),
)
"""Both may use two cores."""
FEATURES = (
    Variation("a key without limits", key_flags=()),
    Variation("records that survive a power cut", flags=("--durability", "power")),
    Variation("not compiled", is_compiled=False),
)
"""What is switched, one at a time. Another switch is another line here."""


@dataclass(frozen=True)
class Modeltap:
    """`modeltap up`, as a person would run it."""

    variation: Variation = AS_IT_IS
    about: str = "keys, limits, meter and metrics on; its hot path compiled, as in its wheel"

    @property
    def name(self) -> str:
        return "modeltap" if self.variation is AS_IT_IS else f"modeltap, {self.variation.name}"

    def versions(self) -> str:
        return installed_versions(Path(sys.executable), ("modeltap", "uvicorn", "onnxruntime"))

    @contextmanager
    def start(self, run: Run) -> Iterator[Endpoint]:
        home, log, vary = run.scratch / "home", run.scratch / "log.txt", self.variation
        command = [sys.executable, "-m", "modeltap", "up", "--home", str(home), "--port", "0", "--grpc-port", "0", *vary.flags]
        environment = dict(vary.environment)
        if vary.is_compiled:
            try:
                environment["PYTHONPATH"] = str(compiled_packages())
            except CannotInstall as reason:
                raise DidNotStart(f"it could not be compiled: {reason}") from None
        with launched(command, log=log, cores=vary.cores, environment=environment) as process:
            port = _wait_for_port(process, home, log)
            told_by(home, "models", "import", str(run.graph), "--name", MODEL)
            told_by(home, "deploy", f"{MODEL}@1", "--name", MODEL)
            key = told_by(home, "keys", "create", *vary.key_flags)["key"]
            headers = {"Authorization": f"Bearer {key}"}
            path = f"/v2/models/{MODEL}/infer"
            forms = {
                "json": inference_json(run.row, path).with_headers(headers),
                "binary": inference_binary(run.row, path).with_headers(headers),
            }
            right, refused = wait_until_right(process, forms, port, run.expected, log=log)
            yield Endpoint(port, right, refused, process.pid)


def _wait_for_port(process: subprocess.Popen[bytes], home: Path, log: Path) -> int:
    record, deadline_s = home / "server.json", time.monotonic() + START_LIMIT_S
    while not record.exists():
        if process.poll() is not None:
            raise DidNotStart(f"ended with {process.returncode}: {last_words(log)}")
        if time.monotonic() > deadline_s:
            raise DidNotStart(f"not ready in {START_LIMIT_S:.0f} s")
        time.sleep(POLL_S)
    return urlsplit(json.loads(record.read_text())["url"]).port or 80
