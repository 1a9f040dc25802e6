"""BentoML: one worker process, adaptive batches of up to 32 rows."""

from __future__ import annotations

import bentoml
import numpy as np
from reference_model import MAX_BATCH, Model


@bentoml.service(workers=1, traffic={"timeout": 30})
class ReferenceCnn:
    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route="/predict", batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=1000)
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model(x)
