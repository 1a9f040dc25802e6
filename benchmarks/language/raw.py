"""`python -m benchmarks.language.raw FOLDER PROMPTS STREAMS SECONDS`: OpenVINO GenAI's own loop, ids turned into text.

No process between, no server and no wire: the ceiling of a server that uses the same engine. A text that ended is replaced
before the next step, in no time: no caller can be back as soon, and what waits for one is late by that. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.language.shape import ANSWER_TOKENS, CONTEXT, STREAMS, THREADS, percentile_ms

STEP_TOKENS = 256
BLOCK_TOKENS = 32


class Raw:
    """The pipeline, and the texts that are being written."""

    def __init__(self, folder: Path, prompts: list[tuple[str, list[int]]]) -> None:
        import openvino_genai as genai
        from tokenizers import Tokenizer

        scheduling = genai.SchedulerConfig()
        scheduling.cache_size = 0
        scheduling.num_kv_blocks = (CONTEXT // BLOCK_TOKENS + 1) * max(STREAMS)
        scheduling.max_num_seqs = max(STREAMS)
        scheduling.max_num_batched_tokens = STEP_TOKENS
        scheduling.dynamic_split_fuse = True
        properties = {"ENABLE_CPU_PINNING": "NO", "INFERENCE_NUM_THREADS": THREADS, "KV_CACHE_PRECISION": "u8"}
        self._pipeline = genai.ContinuousBatchingPipeline(str(folder), scheduling, "CPU", properties)
        self._config = genai.GenerationConfig()
        self._config.max_new_tokens, self._config.ignore_eos = ANSWER_TOKENS, True
        self._config.apply_chat_template = False
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._prompts = prompts
        self._going_on = genai.GenerationFinishReason.NONE
        self.running: dict[int, list[Any]] = {}
        """Number → handle, its text, when something came last, whether nothing came yet."""
        self._number = 0
        self.num_tokens = 0
        self.first_s: list[float] = []
        self.gaps_s: list[float] = []

    def add(self) -> None:
        from openvino import Tensor
        from tokenizers.decoders import DecodeStream

        ids = np.array([self._prompts[self._number % len(self._prompts)][1]], dtype=np.int64)
        handle = self._pipeline.add_request(self._number, Tensor(ids), self._config)
        self.running[self._number] = [handle, DecodeStream(), time.perf_counter(), True]
        self._number += 1

    def step(self) -> None:
        self._pipeline.step()
        for number, state in list(self.running.items()):
            handle, text = state[:2]
            while handle.can_read():
                for output in handle.read().values():
                    for token in output.generated_ids:
                        text.step(self._tokenizer, token)
                        self.num_tokens += 1
                    now_s = time.perf_counter()
                    (self.first_s if state[3] else self.gaps_s).append(now_s - state[2])
                    state[2], state[3] = now_s, False
                    if output.finish_reason != self._going_on:
                        self.running.pop(number, None)


def main() -> None:
    folder, prompts, streams, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    raw = Raw(folder, json.loads(prompts.read_text()))
    raw.add()
    while raw.running:  # warm
        raw.step()
    raw.num_tokens = 0
    raw.first_s.clear()
    raw.gaps_s.clear()
    started_s = time.perf_counter()
    while (took_s := time.perf_counter() - started_s) < seconds:
        while len(raw.running) < streams:
            raw.add()
        raw.step()
    print(
        json.dumps(
            {
                "rate": raw.num_tokens / took_s,
                "first_ms": percentile_ms(raw.first_s, 50),
                "gap_ms": percentile_ms(raw.gaps_s, 99),
                "client_s": 0.0,
            }
        )
    )


if __name__ == "__main__":
    main()
