"""LitServe: one API process, one worker process, batches of up to 32 rows."""

from __future__ import annotations

import litserve
import numpy as np
from reference_model import MAX_BATCH, PORT, Model


class ReferenceCnn(litserve.LitAPI):
    def setup(self, device):
        self.model = Model()

    def decode_request(self, request):
        return np.array(request["x"], np.float32)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        return self.model(x)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"y_pred": output.tolist()}


if __name__ == "__main__":
    api = ReferenceCnn(max_batch_size=MAX_BATCH, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, log_level="warning", generate_client_file=False)
