"""Triton Inference Server as the pytriton wheel carries it: the Python backend, dynamic batches of up to 32 rows.

Run by the environment's python, it writes a model repository beside itself and becomes `tritonserver`; imported by Triton's
Python backend, it is the model.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

CONFIG = """
backend: "python"
max_batch_size: 32
input [{ name: "x" data_type: TYPE_FP32 dims: [28, 28, 1] }]
output [{ name: "y_pred" data_type: TYPE_FP32 dims: [10] }]
instance_group [{ kind: KIND_CPU count: 1 }]
dynamic_batching { max_queue_delay_microseconds: 500 }
"""


class TritonPythonModel:
    """What the Python backend looks for."""

    def initialize(self, _args):
        import triton_python_backend_utils as backend
        from reference_model import Model

        self._backend = backend
        self._model = Model()

    def execute(self, requests):
        import numpy as np

        rows = [self._backend.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        prob_NC = self._model(np.concatenate(rows))
        answers, start = [], 0
        for given in rows:
            tensor = self._backend.Tensor("y_pred", prob_NC[start : start + len(given)])
            answers.append(self._backend.InferenceResponse([tensor]))
            start += len(given)
        return answers


def main() -> None:
    """Replaces this process by tritonserver."""
    import pytriton

    port, repository = sys.argv[1], Path(sys.argv[2]) / "repository"
    version = repository / "cnn" / "1"
    version.mkdir(parents=True)
    shutil.copy(__file__, version / "model.py")
    shutil.copy(Path(__file__).with_name("reference_model.py"), version)
    (repository / "cnn" / "config.pbtxt").write_text(CONFIG)

    package = Path(pytriton.__file__).parent
    home = package / "tritonserver"
    backends = Path(sys.argv[2]) / "backends"
    shutil.copytree(home / "backends", backends)
    stub = home / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}" / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python" / stub.name)
    libraries = [str(path) for path in (home / "external_libs", package.parent / "nvidia_pytriton.libs") if path.exists()]
    program = str(home / "bin" / "tritonserver")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep),
    }
    arguments = [
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--http-thread-count=2",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--disable-auto-complete-config",
    ]
    os.execve(program, [program, *arguments], environment)


if __name__ == "__main__":
    main()
