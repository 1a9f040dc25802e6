"""What /v2 and gRPC tell of the server and of a model: metadata, configuration, statistics. One description for both."""

from __future__ import annotations

from typing import Any

from modeltap import __version__
from modeltap.domain.deployment import Deployment
from modeltap.domain.signature import Datatype, TensorSpec
from modeltap.serving.statistics import Tally
from modeltap.serving.version import Version

SERVER = "modeltap"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "parameters", "schedule_policy", "statistics")
SHARED_MEMORY = "system_shared_memory"
PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"
_NOTHING = {"count": 0, "ns": 0}


def server_metadata(*, has_shared_memory: bool) -> dict[str, Any]:
    extensions = [*EXTENSIONS, *([SHARED_MEMORY] if has_shared_memory else [])]
    return {"name": SERVER, "version": __version__, "extensions": extensions}


def version_number(version: Version) -> str:
    """The protocol's version: the number behind the name."""
    return version.model_id.rpartition("@")[2]


def model_metadata(name: str, version: Version) -> dict[str, Any]:
    """Names, datatypes and shapes; -1 is any number."""
    return {
        "name": name,
        "versions": [version_number(version)],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in version.signature.inputs],
        "outputs": [_tensor(spec) for spec in version.signature.outputs],
    }


def model_config(name: str, deployment: Deployment, version: Version) -> dict[str, Any]:
    """How the model is run; of a batched one the shapes are without the first axis."""
    is_batched = version.manifest.is_batched
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": BACKEND,
        "version_policy": {"specific": {"versions": [route.version for route in deployment.routes]}},
        "max_batch_size": deployment.terms.max_batch if is_batched else 0,
        "input": [_config_tensor(spec, is_batched=is_batched) for spec in version.signature.inputs],
        "output": [_config_tensor(spec, is_batched=is_batched) for spec in version.signature.outputs],
        "instance_group": [{"name": name, "kind": "KIND_CPU", "count": deployment.terms.replicas}],
        "default_model_filename": "model.onnx",
        **({"dynamic_batching": {}} if is_batched else {}),
    }


def model_statistics(name: str, version: Version) -> dict[str, Any]:
    """What this process has done with it since it was loaded. Reading and writing tensors are not timed by themselves."""
    counted = version.statistics
    return {
        "name": name,
        "version": version_number(version),
        "last_inference": round(counted.last_at_s * 1000),
        "inference_count": counted.rows,
        "execution_count": counted.num_runs,
        "inference_stats": {
            "success": _told(counted.answered),
            "fail": _told(counted.failed),
            "queue": _told(counted.queued),
            "compute_input": _NOTHING,
            "compute_infer": _told(counted.computed),
            "compute_output": _NOTHING,
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "batch_stats": [
            {"batch_size": rows, "compute_input": _NOTHING, "compute_infer": _told(tally), "compute_output": _NOTHING}
            for rows, tally in sorted(counted.runs.items())
        ],
    }


def index_entry(deployment: Deployment, status: str, reason: str) -> dict[str, Any]:
    """One line of the repository's index."""
    states = {"ready": "READY", "loading": "LOADING", "unloaded": "READY"}
    return {
        "name": deployment.name,
        "version": str(deployment.routes[0].version),
        "state": states.get(status, "UNAVAILABLE"),
        "reason": reason,
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _config_tensor(spec: TensorSpec, *, is_batched: bool) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": _config_type(spec.datatype),
        "dims": list(spec.shape[1:] if is_batched else spec.shape),
    }


def _config_type(datatype: Datatype) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def _told(tally: Tally) -> dict[str, int]:
    return {"count": tally.count, "ns": round(tally.total_s * 1e9)}
