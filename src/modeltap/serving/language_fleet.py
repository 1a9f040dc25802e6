"""The engines of one language model, each in a process that starts itself again; the next text goes to the idlest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from modeltap.bundle.files import Bundle
from modeltap.domain.replica import ReplicaState
from modeltap.engines.tokens_process import TokenProcess
from modeltap.engines.tokens_wire import EngineSettings

OPENVINO = "openvino_"
"""Files of that beginning are what an engine process loads."""
PROCESS_BYTES = 256 << 20
"""What such a process holds beside the weights; what it keeps of texts is counted as it grows."""


class LanguageFleet:
    """All of its processes are there from `start` to `close`, dead ones included: those come back."""

    has_processes = True

    def __init__(self, name: str, files: Mapping[str, Path], bundle: Bundle, *, replicas: int, max_streams: int) -> None:
        self.name = name
        self._files = files
        self._bundle = bundle
        self._size = replicas
        self._settings = EngineSettings(max_streams=max_streams)
        self._processes: list[TokenProcess] = []

    async def start(self) -> None:
        """Every process has repeated its golden prompts. Raises GoldenMismatch, MissingExtra, Broken; then none is left."""
        starting = [asyncio.create_task(self._open(number)) for number in range(1, self._size + 1)]
        try:
            self._processes = list(await asyncio.gather(*starting))
        finally:
            if not self._processes:
                for task in starting:
                    task.cancel()
                ended = await asyncio.gather(*starting, return_exceptions=True)
                await asyncio.gather(*(one.close() for one in ended if isinstance(one, TokenProcess)))

    def engines(self) -> Sequence[TokenProcess]:
        """Those that are ready first, and of them those with the fewest texts."""
        return sorted(self._processes, key=lambda process: (process.state != "ready", process.num_streams))

    @property
    def is_ready(self) -> bool:
        return any(process.state == "ready" for process in self._processes)

    @property
    def num_places(self) -> int:
        """Texts that are written at a time; more wait."""
        return self._size * self._settings.max_streams

    def states(self) -> dict[str, ReplicaState]:
        """The state of each by its name."""
        return {process.name: process.state for process in self._processes}

    @property
    def num_restarts(self) -> int:
        return sum(process.num_restarts for process in self._processes)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the engine processes that live."""
        return tuple(process.pid for process in self._processes if process.state == "ready")

    @property
    def memory_bytes(self) -> int:
        """What the engine processes hold now."""
        return sum(process.memory_bytes for process in self._processes)

    def allow_deadline(self, deadline_s: float) -> None:
        """A text takes as long as it is; what hangs is one step, and the engine looks after that."""

    async def close(self) -> None:
        """What still runs ends in Unavailable; then no process is left."""
        processes, self._processes = self._processes, []
        await asyncio.gather(*(process.close() for process in processes))

    async def _open(self, number: int) -> TokenProcess:
        language = self._bundle.manifest.language
        assert language is not None, "its manifest says that it is a language model"
        return await TokenProcess.start(
            f"{self.name}#{number}", self._files, language, self._bundle.golden, settings=self._settings
        )


def engine_bytes(files: Mapping[str, Path]) -> int:
    """What one of its processes takes, before it was started."""
    return PROCESS_BYTES + sum(path.stat().st_size for name, path in files.items() if name.startswith(OPENVINO))
