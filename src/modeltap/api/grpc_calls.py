"""What each method of the gRPC service answers: what /v2 does over HTTP, in messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from modeltap.api.body import INLINE_BYTES, apart
from modeltap.api.grpc_tensors import is_in_memory, read_request, write_response
from modeltap.api.inference import NO_CUDA_MEMORY, hurry, unmanaged
from modeltap.api.inference_answer import plan_outputs
from modeltap.api.inference_model import (
    index_entry,
    model_config,
    model_metadata,
    model_statistics,
    server_metadata,
    version_number,
)
from modeltap.api.inference_versions import InferenceVersions
from modeltap.api.local_caller import Address, parse_peer
from modeltap.api.memory_regions import MemoryRegions, write_outputs
from modeltap.errors import InvalidInput, NotFound, Unavailable
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane

Method = Callable[[Any, Any], Awaitable[Any]]
"""(request message, call) → answer message; the call is None for those that need no key. Raises named errors."""


class InferenceCalls:
    """The methods that take one request and give one answer, by the protocol's names."""

    def __init__(self, plane: Plane, regions: MemoryRegions, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._regions = regions
        self._max_body_bytes = max_body_bytes
        self.address: Address = ("", 0)
        """Where callers are connected to, once it listens."""
        self._versions = InferenceVersions(plane)
        self.methods: dict[str, Method] = {
            "ServerLive": _always("ServerLiveResponse", {"live": True}),
            "ServerReady": _always("ServerReadyResponse", {"ready": True}),
            "ServerMetadata": _always("ServerMetadataResponse", server_metadata(has_shared_memory=regions.is_on)),
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "ModelInfer": self.infer,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryStatus": self._regions_status,
            "SystemSharedMemoryRegister": self._register_region,
            "SystemSharedMemoryUnregister": self._unregister_region,
            "CudaSharedMemoryStatus": _always("CudaSharedMemoryStatusResponse", {}),
            "CudaSharedMemoryRegister": _refuse_cuda,
            "CudaSharedMemoryUnregister": _always("CudaSharedMemoryUnregisterResponse", {}),
        }

    async def infer(self, request: Any, call: Call) -> Any:
        """The ModelInferResponse. After it the call is accepted."""
        from modeltap.api.grpc_messages import message_class

        name = request.model_name
        version = self._versions.find(call, name, request.model_version)
        with version.held():
            memory = self._regions.of(call, limit_bytes=self._max_body_bytes)
            size_bytes = self._max_body_bytes if is_in_memory(request) else request.ByteSize()
            asked = await apart(size_bytes, lambda: read_request(request, memory))
            size_bytes = request.ByteSize() + memory.read_bytes
            planned = plan_outputs(version.signature, asked)
            reader = self._versions.reader(version)
            inputs, rows = await apart(size_bytes, lambda: reader.read(asked.tensors))
            hurry(call, asked)
            outputs = await self._plane.infer(call, inputs, rows)
            await write_outputs(self._plane, call, memory, outputs)
            number = version_number(version)
            response = message_class("ModelInferResponse")(model_name=name, model_version=number, id=request.id)
            size_bytes = sum(values.nbytes for values in outputs.values())
            return await apart(size_bytes, lambda: write_response(response, planned, outputs), inline_bytes=16 * INLINE_BYTES)

    async def _model_ready(self, request: Any, call: Call) -> Any:
        """A model that is not there is not ready."""
        try:
            self._versions.find(call, request.name, request.version)
        except (NotFound, Unavailable):
            return _message("ModelReadyResponse", {"ready": False})
        return _message("ModelReadyResponse", {"ready": True})

    async def _model_metadata(self, request: Any, call: Call) -> Any:
        version = self._versions.find(call, request.name, request.version)
        return _message("ModelMetadataResponse", model_metadata(request.name, version))

    async def _model_config(self, request: Any, call: Call) -> Any:
        version = self._versions.find(call, request.name, request.version)
        assert call.deployment is not None
        return _message("ModelConfigResponse", {"config": model_config(request.name, call.deployment, version)})

    async def _model_statistics(self, request: Any, call: Call) -> Any:
        if not request.name:
            told = self._versions.statistics(call)
        else:
            told = [model_statistics(request.name, self._versions.find(call, request.name, request.version))]
        return _message("ModelStatisticsResponse", {"model_stats": told})

    async def _index(self, request: Any, call: Call) -> Any:
        entries = [index_entry(*one) for one in self._plane.listed(call)]
        models = [entry for entry in entries if entry["state"] == "READY" or not request.ready]
        return _message("RepositoryIndexResponse", {"models": models})

    async def _regions_status(self, request: Any, call: Call) -> Any:
        regions = {region["name"]: region for region in self._regions.listed(call, request.name)}
        return _message("SystemSharedMemoryStatusResponse", {"regions": regions})

    async def _register_region(self, request: Any, call: Call) -> Any:
        await self._regions.register(
            call,
            request.name,
            key=request.key,
            offset=request.offset,
            byte_size=request.byte_size,
            caller=parse_peer(call.peer),
            server=self.address,
        )
        return _message("SystemSharedMemoryRegisterResponse", {})

    async def _unregister_region(self, request: Any, call: Call) -> Any:
        await self._regions.forget(call, request.name)
        return _message("SystemSharedMemoryUnregisterResponse", {})

    async def _load(self, request: Any, call: Call) -> Any:
        raise InvalidInput(unmanaged(request.model_name, "load"))

    async def _unload(self, request: Any, call: Call) -> Any:
        raise InvalidInput(unmanaged(request.model_name, "unload"))


async def _refuse_cuda(request: Any, call: Call) -> Any:
    raise InvalidInput(NO_CUDA_MEMORY)


def _always(name: str, value: dict[str, Any]) -> Method:
    async def answer(request: Any, call: Call | None) -> Any:
        return _message(name, value)

    return answer


def _message(name: str, value: dict[str, Any]) -> Any:
    """The message with these fields, as they are told over HTTP."""
    from google.protobuf import json_format

    from modeltap.api.grpc_messages import message_class

    return json_format.ParseDict(value, message_class(name)())
