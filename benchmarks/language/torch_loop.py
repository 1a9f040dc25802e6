"""`python -m benchmarks.language.torch_loop FOLDER PROMPTS STREAMS SECONDS`: transformers' generate, a batch at a time.

float32, as many prompts together as there are streams; a new batch begins when every text of the one before is whole. Prints
one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.language.shape import ANSWER_TOKENS, THREADS, percentile_ms


def main() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria, StoppingCriteriaList

    folder, prompts = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    streams, seconds = int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(THREADS)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    seen_s: list[float] = []

    class Watch(StoppingCriteria):  # type: ignore[misc]
        """Called after every step."""

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            seen_s.append(time.perf_counter())
            return torch.zeros(len(input_ids), dtype=torch.bool)

    number = num_tokens = 0
    first_s: list[float] = []
    gaps_s: list[float] = []
    started_s = time.perf_counter()
    while (took_s := time.perf_counter() - started_s) < seconds:
        ids_NT = torch.tensor([prompts[(number + i) % len(prompts)][1] for i in range(streams)])
        number += streams
        begun_s = time.perf_counter()
        seen_s.clear()
        with torch.inference_mode():
            out_NT = model.generate(
                ids_NT,
                attention_mask=torch.ones_like(ids_NT),
                do_sample=False,
                min_new_tokens=ANSWER_TOKENS,
                max_new_tokens=ANSWER_TOKENS,
                stopping_criteria=StoppingCriteriaList([Watch()]),
            )
        tokenizer.batch_decode(out_NT[:, ids_NT.shape[1] :])
        num_tokens += streams * (out_NT.shape[1] - ids_NT.shape[1])
        first_s.append(seen_s[0] - begun_s)
        gaps_s += np.diff(seen_s).tolist()
    told = {"rate": num_tokens / took_s, "first_ms": percentile_ms(first_s, 50)}
    print(json.dumps(told | {"gap_ms": percentile_ms(gaps_s, 99), "client_s": 0.0}))


if __name__ == "__main__":
    main()
