"""The models that a caller of /v2 or gRPC means, in the protocol's own words where they are not there."""

from __future__ import annotations

from typing import Any

from modeltap.api.guard import NO_KEY
from modeltap.api.inference_model import model_statistics
from modeltap.api.tensors import TensorReader, tensor_reader
from modeltap.errors import InvalidInput, NotFound, Unauthenticated
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.version import Version

LONGEST_NAME = 200
"""Of what a request named and does not exist, in the answer that says so."""


class InferenceVersions:
    """Finds versions through the plane, and keeps for each how its tensors are read."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def find(self, call: Call, name: str, wanted: str) -> Version:
        """The loaded version; `wanted` '' is the one that the deployment routes to.

        Raises NotFound, InvalidInput, Unauthenticated, Forbidden, and Loading.
        """
        call.forget_deployment()
        number = _parse_version(wanted) if wanted else None
        try:
            return self._plane.find(call, name, number)
        except Unauthenticated:  # without a key only public models are known
            raise Unauthenticated(f"{_unknown(name)} among those that need no key; {NO_KEY}") from None
        except NotFound:
            deployment = call.deployment
            if deployment is None:
                raise NotFound(_unknown(name)) from None
            served = ", ".join(f"'{route.version}'" for route in deployment.routes)
            raise NotFound(
                f"Request for unknown model: '{name}' version '{wanted[:LONGEST_NAME]}' is not found; served is {served}"
            ) from None

    def reader(self, version: Version) -> TensorReader:
        reader: TensorReader | None = version.tensors
        if reader is None:
            reader = version.tensors = tensor_reader(version.manifest, version.reader)
        return reader

    def statistics(self, call: Call) -> list[dict[str, Any]]:
        """Of every loaded model that the caller may use; none is loaded for it."""
        loaded = [deployment.name for deployment, status, _ in self._plane.listed(call) if status == "ready"]
        return [model_statistics(name, self._plane.find(call, name)) for name in loaded]


def _unknown(name: str) -> str:
    return f"Request for unknown model: '{name[:LONGEST_NAME]}' is not found"


def _parse_version(wanted: str) -> str:
    if not wanted.isascii() or not wanted.isdigit() or len(wanted) > 9 or not int(wanted):
        raise InvalidInput(
            f"failed to get model version from specified version string '{wanted[:LONGEST_NAME]}': a version is a whole number"
            " from 1 on"
        )
    return str(int(wanted))
