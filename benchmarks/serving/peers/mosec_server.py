"""mosec: its Rust front, one worker process a codec, batches of up to 32 rows. `/predict` takes JSON, `/bytes` raw float32."""

from __future__ import annotations

import json

import numpy as np
from mosec import Server, Worker
from reference_model import MAX_BATCH, Model


class JsonWorker(Worker):
    def __init__(self):
        super().__init__()
        self.model = Model()

    def deserialize(self, data):
        return np.array(json.loads(data)["x"], np.float32)

    def forward(self, data):
        return list(self.model(np.stack(data)))

    def serialize(self, data):
        return json.dumps({"y_pred": data.tolist()}).encode()


class BytesWorker(JsonWorker):
    req_mime_type = resp_mime_type = "application/octet-stream"

    def deserialize(self, data):
        return np.frombuffer(data, np.float32)

    def serialize(self, data):
        return data.tobytes()


if __name__ == "__main__":
    server = Server()
    for worker, route in ((JsonWorker, "/predict"), (BytesWorker, "/bytes")):
        server.append_worker(worker, num=1, max_batch_size=MAX_BATCH, max_wait_time=1, route=route)
    server.run()
