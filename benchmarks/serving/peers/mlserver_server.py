"""MLServer: a custom runtime, in the server's own process, because another process for it is slower on one core."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput
from reference_model import Model


class ReferenceCnn(MLModel):
    async def load(self) -> bool:
        self.model = Model()
        return True

    async def predict(self, payload):
        tensor = payload.inputs[0]
        prob_NC = self.model(np.array(tensor.data.root, np.float32).reshape(tensor.shape))
        output = ResponseOutput(name="y_pred", shape=list(prob_NC.shape), datatype="FP32", data=prob_NC.ravel().tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])
