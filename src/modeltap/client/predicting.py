"""Rows, CSV text or a picture → the body of a prediction, and its answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modeltap.client.transport import Transport, segment
from modeltap.client.values import Predictions
from modeltap.errors import InvalidData, InvalidValue

IMAGE_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
Picture = bytes | str | os.PathLike[str]


def predict(
    transport: Transport,
    deployment: str | None,
    instances: Any = None,
    *,
    csv: str | bytes | None = None,
    image: Picture | None = None,
) -> Predictions:
    """One answer a row. Exactly one of instances, csv and image is given; no deployment is the default one."""
    given = [name for name, value in (("instances", instances), ("csv", csv), ("image", image)) if value is not None]
    if len(given) != 1:
        raise InvalidValue(f"give one of instances, csv and image; given: {', '.join(given) or 'none'}")
    if csv is not None:
        raw = send(transport, deployment, csv.encode() if isinstance(csv, str) else csv, "text/csv")
    elif image is not None:
        raw = send(transport, deployment, *_picture(image))
    else:
        raw = transport.json("POST", _path(deployment), body={"instances": plain_rows(instances)})
    return Predictions(raw)


def send(transport: Transport, deployment: str | None, content: bytes, content_type: str) -> dict[str, Any]:
    """The server's answer to a body as it is."""
    answer: dict[str, Any] = transport.json("POST", _path(deployment), content=content, headers={"content-type": content_type})
    return answer


def plain_rows(instances: Any) -> list[Any]:
    """Rows as JSON takes them: from a data frame, an array, one object, or a sequence of rows."""
    if hasattr(instances, "to_dicts"):
        rows: list[Any] = instances.to_dicts()
    elif hasattr(instances, "to_dict") and hasattr(instances, "columns"):
        rows = instances.to_dict(orient="records")
    elif isinstance(instances, Mapping):
        rows = [instances]
    elif hasattr(instances, "tolist"):
        rows = instances.tolist()
    elif isinstance(instances, Sequence) and not isinstance(instances, (str, bytes)):
        rows = list(instances)
    else:
        raise InvalidValue(f"a {type(instances).__name__} is not rows; give a list of rows, a data frame or an array")
    return rows


def _path(deployment: str | None) -> str:
    return "/predict" if deployment is None else f"/predict/{segment(deployment)}"


def _picture(image: Picture) -> tuple[bytes, str]:
    if isinstance(image, bytes):
        return image, "image/*"
    path = Path(image).expanduser()
    try:
        return path.read_bytes(), IMAGE_TYPES.get(path.suffix.lower(), "image/*")
    except OSError as problem:
        raise InvalidData(f"'{path}' cannot be read: {problem.strerror or problem}") from None
