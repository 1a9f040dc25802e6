"""Who is measured: the raw loop, modeltap, llama.cpp's server and transformers. Each says how it is started and asked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from benchmarks.language.shape import CONTEXT, STREAMS, THREADS, Load, Made
from benchmarks.serving.environments import find_environment, installed_versions
from benchmarks.serving.process import (
    POLL_S,
    ROOT,
    START_LIMIT_S,
    DidNotStart,
    free_port,
    last_words,
    launched,
    own_environment,
    told_by,
)
from benchmarks.serving.servers.modeltap import LIMITS

MODEL = "llama"
THREADED = {"OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": str(THREADS)}
CORES = ",".join(map(str, sorted(os.sched_getaffinity(0))[:THREADS]))
"""All that has to do with a contender shares them, its client too."""
LLAMA = ("xllamacpp", "gguf")
EXTRA_S = 1200.0
PREPARED = ".prepared"


class Contender(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str:
        """How it is set up, in a few words."""

    def versions(self) -> str:
        """Raises CannotInstall where it cannot be measured here."""

    def measured(self, made: Made, scratch: Path, streams: Sequence[int], seconds: float) -> Iterator[tuple[int, Load]]:
        """One stretch for each number of streams. Raises DidNotStart."""


@dataclass(frozen=True)
class Loop:
    """A loop without a server, in a process of its own for each stretch."""

    name: str
    about: str
    module: str
    distributions: tuple[str, ...]
    takes_openvino: bool

    def versions(self) -> str:
        return installed_versions(Path(sys.executable), self.distributions)

    def measured(self, made: Made, scratch: Path, streams: Sequence[int], seconds: float) -> Iterator[tuple[int, Load]]:
        folder = made.openvino if self.takes_openvino else made.folder
        for number in streams:
            yield number, run_module(self.module, str(folder), str(made.prompts), str(number), str(seconds))


class Modeltap:
    """`modeltap up` with a key that has limits, the meter and the metrics on; asked over HTTP."""

    name = "modeltap"
    about = "HTTP streaming; keys, limits, meter and metrics on; int8, u8 cache"

    def versions(self) -> str:
        return installed_versions(Path(sys.executable), ("modeltap", "uvicorn", "openvino-genai"))

    def measured(self, made: Made, scratch: Path, streams: Sequence[int], seconds: float) -> Iterator[tuple[int, Load]]:
        home = prepared_home(made, scratch)
        with _serving(home, scratch / "modeltap.log") as url:
            key = told_by(home, "keys", "create", *LIMITS)["key"]
            yield from _asked(url, key, MODEL, made, streams, seconds)


def prepared_home(made: Made, scratch: Path) -> Path:
    """A home in which the int8 model is deployed; made by modeltap's own commands and kept until what makes it changes."""
    code = hashlib.sha256()
    for room in ("bundle", "compression", "domain", "importing", "storage"):
        for path in sorted((ROOT / "src" / "modeltap" / room).rglob("*.py")):
            code.update(path.read_bytes())
    home = made.folder.with_name(f"home-{code.hexdigest()[:12]}")
    if (home / PREPARED).exists():
        return home
    for old in made.folder.parent.glob("home-*"):
        shutil.rmtree(old)
    texts = scratch / "texts.txt"
    texts.write_text("\n".join(text for text, _ in json.loads(made.prompts.read_text())[:20]))
    with _serving(home, scratch / "preparing.log", model=""):
        told_by(home, "models", "import", str(made.folder), "--name", MODEL)
        told_by(home, "compress", f"{MODEL}@1", "--int8", "--name", f"{MODEL}-int8", "--texts", str(texts))
        told_by(home, "deploy", f"{MODEL}-int8@1", "--name", MODEL)
    (home / PREPARED).touch()
    return home


@contextmanager
def _serving(home: Path, log: Path, *, model: str = MODEL) -> Iterator[str]:
    """The URL of `modeltap up` on the home, whose model answers."""
    command = [sys.executable, "-m", "modeltap", "up", "--home", str(home), "--port", "0", "--grpc-port", "0"]
    with launched(command, log=log, cores=CORES, environment=THREADED) as process:
        _wait(process, log, lambda: (home / "server.json").exists())
        url: str = json.loads((home / "server.json").read_text())["url"]
        if model:
            key = (home / "admin.key").read_text().strip()
            _wait(process, log, lambda: _answers(url, key, model))
        yield url


class LlamaServer:
    """llama.cpp's own server on q8_0 weights."""

    name = "llama.cpp"
    about = f"its server through xllamacpp, q8_0, {max(STREAMS)} slots, {THREADS} threads"

    def versions(self) -> str:
        return installed_versions(find_environment("xllamacpp", LLAMA), LLAMA)

    def measured(self, made: Made, scratch: Path, streams: Sequence[int], seconds: float) -> Iterator[tuple[int, Load]]:
        python = find_environment("xllamacpp", LLAMA)
        here, weights = Path(__file__).parent, made.folder.with_name("model.gguf")
        if not weights.exists():
            staged = weights.with_suffix(".new")
            subprocess.run([str(python), str(here / "to_gguf.py"), str(made.folder), str(staged)], check=True, timeout=EXTRA_S)
            staged.rename(weights)
        port = free_port()
        words = (weights, port, max(STREAMS), CONTEXT, THREADS)
        command = [str(python), str(here / "llama_server.py"), *map(str, words)]
        log = scratch / "llama.log"
        with launched(command, log=log, cores=CORES, environment={**THREADED, "LLAMA_API_KEY": "k"}) as process:
            url = f"http://127.0.0.1:{port}"
            _wait(process, log, lambda: _answers(url, "k", MODEL))
            yield from _asked(url, "k", MODEL, made, streams, seconds)


RAW = Loop("raw loop", "OpenVINO GenAI add_request/step, int8, u8 cache, ids into text", "raw", ("openvino-genai",), True)
TORCH = Loop("transformers", "generate, float32, a batch at a time", "torch_loop", ("transformers", "torch"), False)
CONTENDERS: tuple[Contender, ...] = (RAW, Modeltap(), LlamaServer(), TORCH)


def run_module(module: str, *words: str) -> Load:
    """What it printed. Raises DidNotStart where it failed."""
    command = ["taskset", "-c", CORES, sys.executable, "-m", f"benchmarks.language.{module}", *words]
    environment = {**own_environment(), **THREADED}
    limit_s = float(words[-1]) + EXTRA_S
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=limit_s, env=environment, check=False)
    if done.returncode:
        raise DidNotStart((done.stderr.strip().splitlines() or ["it said nothing"])[-1][:260])
    return Load(**json.loads(done.stdout.splitlines()[-1]))


def _asked(url: str, key: str, model: str, made: Made, streams: Sequence[int], seconds: float) -> Iterator[tuple[int, Load]]:
    port = str(httpx.URL(url).port)
    for number in streams:
        yield number, run_module("client", port, key, model, str(made.prompts), str(number), str(seconds))


def _answers(url: str, key: str, model: str) -> bool:
    try:
        answer = httpx.post(
            f"{url}/v1/completions",
            json={"model": model, "prompt": "one", "max_tokens": 2, "temperature": 0},
            headers={"authorization": f"Bearer {key}"},
            timeout=60,
        )
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def _wait(process: subprocess.Popen[bytes], log: Path, holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while not holds():
        if process.poll() is not None:
            raise DidNotStart(f"ended with {process.returncode}: {last_words(log)}")
        if time.monotonic() > deadline_s:
            raise DidNotStart(f"no answer in {START_LIMIT_S:.0f} s: {last_words(log)}")
        time.sleep(POLL_S)
