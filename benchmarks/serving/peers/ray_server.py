"""Ray Serve: its HTTP proxy and one replica, batches of up to 32 rows."""

from __future__ import annotations

import os
import signal

import numpy as np
import ray
from ray import serve
from reference_model import MAX_BATCH, PORT, Model


@serve.deployment(num_replicas=1, max_ongoing_requests=128, ray_actor_options={"num_cpus": 0})
class ReferenceCnn:
    def __init__(self):
        self.model = Model()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.001)
    async def predict(self, rows):
        return list(self.model(np.array(rows, np.float32)))

    async def __call__(self, request):
        prob_C = await self.predict((await request.json())["x"])
        return {"y_pred": prob_C.tolist()}


if __name__ == "__main__":
    ray.init(num_cpus=1, _temp_dir=os.environ["BENCH_SCRATCH"] + "/r", include_dashboard=False, object_store_memory=100_000_000)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT, "num_cpus": 0})
    serve.run(ReferenceCnn.bind(), name="cnn", route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
