"""Rows, CSV text or a picture → the body of a prediction, and its answers.

A prediction is sent with an Idempotency-Key: however often it has to be sent again, it is answered and charged once.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modeltap.client.receipt import Receipt, read_receipt
from modeltap.client.transport import Transport, plain_value, segment
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
    idempotency_key: str | None = None,
) -> Predictions:
    """One answer a row. Exactly one of instances, csv and image is given; no deployment is the default one."""
    content, content_type = prediction_body(instances, csv=csv, image=image)
    raw, receipt = _exchange(transport, deployment, content, content_type, idempotency_key)
    return Predictions(raw, receipt)


def prediction_body(instances: Any, *, csv: str | bytes | None, image: Picture | None) -> tuple[bytes, str]:
    """(body, content type) of exactly one of the three. Raises InvalidValue, and InvalidData for a file that is not there."""
    given = [name for name, value in (("instances", instances), ("csv", csv), ("image", image)) if value is not None]
    if len(given) != 1:
        raise InvalidValue(f"give one of instances, csv and image; given: {', '.join(given) or 'none'}")
    if csv is not None:
        return csv.encode() if isinstance(csv, str) else csv, "text/csv"
    if image is not None:
        return _picture(image)
    return msgspec.json.encode({"instances": plain_rows(instances)}, enc_hook=plain_value), "application/json"


def send(transport: Transport, deployment: str | None, content: bytes, content_type: str) -> dict[str, Any]:
    """The server's answer to a body as it is."""
    raw, _ = _exchange(transport, deployment, content, content_type, None)
    return raw


def _exchange(
    transport: Transport, deployment: str | None, content: bytes, content_type: str, idempotency_key: str | None
) -> tuple[dict[str, Any], Receipt]:
    headers = metered_headers(transport, content_type, idempotency_key)
    answered = transport.ask("POST", _path(deployment), content=content, headers=headers)
    raw: dict[str, Any] = transport.decoded(answered)
    return raw, read_receipt(answered.headers)


def metered_headers(transport: Transport, content_type: str, idempotency_key: str | None) -> dict[str, str]:
    """Of a call that is charged once, however often the transport sends it."""
    headers = {"content-type": content_type}
    if idempotency_key is not None:
        headers["idempotency-key"] = idempotency_key
    elif transport.max_retries:
        headers["idempotency-key"] = secrets.token_hex(16)
    return headers


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
